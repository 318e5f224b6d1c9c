// A certificate authority of the tests' own, and the certificate that it gave to
// 127.0.0.1 and localhost.
import assert from 'node:assert/strict';
import {createHash, X509Certificate} from 'node:crypto';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {run, tool} from './process.mjs';

const dir = mkdtempSync(join(tmpdir(), 'sockmill-tls-'));
process.on('exit', () => rmSync(dir, {recursive: true, force: true}));
export const file = (name) => join(dir, name);
export const ca = file('ca.pem');

// The flags with which examples/echo serves the certificate.
export const secure = ['-cert', file('cert.pem'), '-key', file('key.pem')];

// What makes Node, Python and Java trust the authority.
export const trusting = {
  NODE_EXTRA_CA_CERTS: ca, SSL_CERT_FILE: ca,
  JDK_JAVA_OPTIONS: `-Djavax.net.ssl.trustStore=${file('trust')} -Djavax.net.ssl.trustStorePassword=password`,
};

async function must(command, ...args) {
  const {code, err} = await run(command, args);
  assert.equal(code, 0, err);
}

// Makes a key pair and its certificate, which signs itself unless -CA is among args.
function certify(name, key, cert, extensions, ...args) {
  return must(tool('openssl', 'openssl'), 'req', '-x509', '-config', file('conf'), '-subj', `/CN=${name}`, '-days', '2',
    '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-keyout', file(key), '-out', file(cert),
    ...extensions.flatMap((e) => ['-addext', e]), ...args);
}

writeFileSync(file('conf'), '[req]\ndistinguished_name = name\n[name]\n'); // no defaults of the system
await certify('sockmill e2e', 'ca.key', 'ca.pem',
  ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign', 'subjectKeyIdentifier=hash']);
await certify('localhost', 'key.pem', 'cert.pem',
  ['basicConstraints=critical,CA:FALSE', 'subjectAltName=DNS:localhost,IP:127.0.0.1', 'authorityKeyIdentifier=keyid'],
  '-CA', ca, '-CAkey', file('ca.key'));
await must(tool('keytool', 'default-jdk-headless'), '-importcert', '-noprompt', '-file', ca, '-keystore', file('trust'), '-storepass', 'password');

// The hash by which Chromium can be told to accept the certificate.
export const keyHash = createHash('sha256')
  .update(new X509Certificate(readFileSync(file('cert.pem'))).publicKey.export({type: 'spki', format: 'der'})).digest('base64');
