// A long line: a TCP proxy that delivers every byte so many milliseconds later,
// in order, in both directions, with a bounded buffer per direction (the sender
// waits beyond it, as for a full window). netlab.mjs starts it:
//     node wan.mjs DELAY_MS LISTEN_IP=HOST:PORT …
// It dials from the address it listens on, so that rules can tell lines apart.
import net from 'node:net';

const BUFFER_BYTES_MAX = 4 * 1024 * 1024;
const delayMs = Number(process.argv[2]);

// Copies @from to @to, @delayMs later: data, end and death.
function carry(from, to) {
    const queue = [];
    let bytes = 0;
    const later = (size, action) => {
        queue.push({ due: performance.now() + delayMs, size, action });
        bytes += size;
        if (bytes > BUFFER_BYTES_MAX) from.pause();
        if (queue.length === 1) setTimeout(deliver, delayMs);
    };
    const deliver = () => {
        const now = performance.now();
        while (queue.length > 0 && queue[0].due <= now) {
            const { size, action } = queue.shift();
            bytes -= size;
            action();
        }
        if (bytes <= BUFFER_BYTES_MAX && from.isPaused()) from.resume();
        if (queue.length > 0) {
            setTimeout(deliver, Math.max(queue[0].due - now, 1));
        }
    };
    from.on('data', (data) => later(data.length, () => {
        if (!to.destroyed) to.write(data);
    }));
    from.on('end', () => later(0, () => to.end()));
    from.on('error', () => later(0, () => to.resetAndDestroy()));
    from.on('close', () => later(0, () => to.destroySoon()));
}

for (const line of process.argv.slice(3)) {
    const [address, target] = line.split('=');
    const [host, port] = target.split(':');
    net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
        const distant = net.connect({
            host, port, localAddress: address, allowHalfOpen: true,
            noDelay: true,
        });
        carry(near, distant);
        carry(distant, near);
    }).listen(Number(port), address);
}
setTimeout(() => console.log('ready'), 100);
