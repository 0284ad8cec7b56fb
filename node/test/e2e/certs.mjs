// Certificates made by the openssl program: an authority of its own in each
// folder, and what it issues.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

function openssl(...args) {
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
    '-nodes'];

export class Authority {
    constructor(folder, name = 'ca') {
        this.folder = folder;
        this.count = 0;
        this.days = 2; // that the next one lives; -1: it is expired
        this.cert = path.join(folder, `${name}.pem`);
        this.key = path.join(folder, `${name}.key`);
        openssl('req', '-x509', ...newKey, '-keyout', this.key, '-out',
            this.cert, '-subj', `/CN=${name}`, '-days', '2');
    }

    // @names: "127.0.0.1" and "::1" are addresses, the rest DNS names.
    issue(...names) {
        const base = path.join(this.folder, `${path.basename(this.cert, '.pem')}-${
            this.count += 1}`);
        const made = { cert: `${base}.pem`, key: `${base}.key`,
            names: names.map((name) =>
                (/^[0-9.]+$|:/.test(name) ? `IP:${name}` : `DNS:${name}`)) };
        fs.writeFileSync(`${base}.ext`,
            `subjectAltName=${made.names.join(',')}\n`);
        openssl('req', ...newKey, '-keyout', made.key, '-out', `${base}.csr`,
            '-subj', `/CN=${path.basename(base)}`);
        openssl('x509', '-req', '-in', `${base}.csr`, '-CA', this.cert,
            '-CAkey', this.key, '-CAcreateserial', '-days',
            String(this.days), '-extfile',
            `${base}.ext`, '-out', made.cert);
        return made;
    }
}

// Puts @from in place of @to at once, as renewal tools do.
export function replaceFile(from, to) {
    fs.copyFileSync(from, `${to}.new`);
    fs.renameSync(`${to}.new`, to);
}
