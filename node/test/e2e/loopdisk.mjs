// A small file system of its own for a node's data directory: ext4 in a loop
// file, filled and emptied with a ballast file. Needs root and loop devices;
// possible() says why not.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const MIB = 1024 * 1024;

function tool(name, ...args) {
    const result = spawnSync(name, args, { encoding: 'utf8' });
    if (result.status !== 0) {
        throw new Error(`${name} ${args.join(' ')}: ` +
            `${result.error?.message ?? result.stderr.trim()}`);
    }
    return result.stdout;
}

export class LoopDisk {
    // Made and mounted at @directory.
    constructor(directory, sizeMib) {
        this.directory = directory;
        this.image = `${directory}.img`;
        fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
        fs.closeSync(fs.openSync(this.image, 'w'));
        fs.truncateSync(this.image, sizeMib * MIB);
        tool('mkfs.ext4', '-q', '-m', '0', this.image);
        tool('mount', '-o', 'loop', this.image, directory);
    }

    freeMib() {
        const { bavail, bsize } = fs.statfsSync(this.directory);
        return bavail * bsize / MIB;
    }

    // Takes space away until @leaveMib are free.
    fill(leaveMib) {
        this.empty();
        const file = path.join(this.directory, 'ballast');
        const bytes = Math.floor((this.freeMib() - leaveMib) * MIB);
        const result = spawnSync('fallocate', ['-l', `${bytes}`, file]);
        // The last blocks go to the file's own bookkeeping.
        if (result.status !== 0 && leaveMib > 0) {
            throw new Error(`fallocate: ${result.stderr}`);
        }
        if (leaveMib > 0) return;
        for (const size of [256 * 1024, 4096]) {
            const fd = fs.openSync(file, 'a');
            try {
                for (;;) fs.writeSync(fd, Buffer.alloc(size));
            } catch (error) {
                if (error.code !== 'ENOSPC') throw error;
            } finally {
                fs.closeSync(fd);
            }
        }
    }

    empty() {
        fs.rmSync(path.join(this.directory, 'ballast'), { force: true });
    }

    // When no process uses it any more.
    remove() {
        tool('umount', this.directory);
        fs.rmSync(this.image, { force: true });
    }
}

// false, or why loop mounts do not work here: for a test's skip option.
export function impossible() {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-loop-'));
    try {
        new LoopDisk(path.join(directory, 'disk'), 8).remove();
        return false;
    } catch (error) {
        return `no loop mounts here (root and loop devices are needed): ` +
            error.message;
    } finally {
        fs.rmSync(directory, { recursive: true, force: true });
    }
}
