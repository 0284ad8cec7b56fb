// A seeded generator: a failing run prints its seed, and the seed repeats the
// choices (not the timing).
import crypto from 'node:crypto';

export class Random {
    constructor(seed) {
        this.seed = seed ?? crypto.randomBytes(4).readUInt32LE();
        this.state = this.seed >>> 0;
    }

    // mulberry32
    next() {
        this.state = (this.state + 0x6d2b79f5) >>> 0;
        let t = this.state;
        t = Math.imul(t ^ (t >>> 15), t | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    }

    below(n) {
        return Math.floor(this.next() * n);
    }

    between(low, high) {
        return low + this.next() * (high - low);
    }

    chance(p) {
        return this.next() < p;
    }

    pick(list) {
        return list[this.below(list.length)];
    }

    shuffle(list) {
        const shuffled = [...list];
        for (let i = shuffled.length - 1; i > 0; i--) {
            const j = this.below(i + 1);
            [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
        }
        return shuffled;
    }

    // Bytes that a peer moves in one period: lognormal around 20 kB, and one
    // peer in five is idle.
    traffic() {
        if (this.chance(0.2)) return 0;
        const normal = Math.sqrt(-2 * Math.log(1 - this.next())) *
            Math.cos(2 * Math.PI * this.next());
        return Math.min(Math.round(Math.exp(10 + 1.5 * normal)), 1e9);
    }
}

export function seedFromEnvironment(name = 'HOLDFAST_SEED') {
    const text = process.env[name];
    return text === undefined || text === '' ? undefined : Number(text);
}
