// A real OpenID provider over TLS for tests: one service client, JWT access tokens for the resource urn:hoopd.
//
//   node provider.mjs PORT CERTIFICATE KEY
//
// Prints "listening" when it answers. A line "rotate" on standard input replaces its signing keys (prints
// "rotated"); the end of standard input ends it, so that it cannot outlive the test that started it.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';

import { Provider } from 'oidc-provider';

const [port, certificate, key] = process.argv.slice(2);
const issuer = `https://localhost:${port}`;

function jwk(type, options, alg) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
}

function make() {
  const algorithms = new URLSearchParams([['urn:hoopd', 'RS256'], ['urn:hoopd:ec', 'ES256'], ['urn:hoopd:ed', 'EdDSA']]);
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'ci',
      client_secret: 'ci-secret',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    }],
    jwks: {
      keys: [
        jwk('rsa', { modulusLength: 2048 }, 'RS256'),
        jwk('ec', { namedCurve: 'P-256' }, 'ES256'),
        jwk('ed25519', {}, 'EdDSA'),
      ],
    },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    extraTokenClaims: () => ({ groups: ['deployers'] }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'do:read target:orders-*',
          audience: resource === 'urn:elsewhere' ? 'elsewhere' : 'hoopd',
          accessTokenTTL: 6 * 3600,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: algorithms.get(resource) ?? 'RS256' } },
        }),
      },
    },
  });
  return provider.callback();
}

let respond = make();
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => respond(request, response));
server.listen(Number(port), '127.0.0.1', () => console.log('listening'));

const commands = createInterface({ input: process.stdin });
commands.on('line', (line) => {
  if (line === 'rotate') {
    respond = make();
    console.log('rotated');
  }
});
commands.on('close', () => process.exit(0));
