// A real OpenID provider over TLS for tests: a service client, JWT access tokens for the resource urn:hoopd; and a client whose
// people log in by links (RFC 8628), under any name and in the group "ops".
//
//   node provider.mjs PORT CERTIFICATE KEY
//
// Prints "listening" when it answers. A line "rotate" on standard input replaces its signing keys (prints
// "rotated"); a line "life SECONDS" sets how long codes of login links live from now on (prints "set"); a
// line "polls" prints how often a client has asked for a token; the end of standard input ends it, so that it cannot outlive the test that started it.

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

let life = 600;

function make() {
  const algorithms = new URLSearchParams([['urn:hoopd', 'RS256'], ['urn:hoopd:ec', 'ES256'], ['urn:hoopd:ed', 'EdDSA']]);
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'ci',
      client_secret: 'ci-secret',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    }, {
      client_id: 'gateway',
      client_secret: 'gateway+secret: 100%&=',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
      response_types: [],
      redirect_uris: [],
    }],
    claims: { openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: ['ops'] }) }),
    ttl: { DeviceCode: () => life },
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
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
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
let polls = 0;
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => {
  polls += request.url === '/token' ? 1 : 0;
  respond(request, response);
});
server.listen(Number(port), '127.0.0.1', () => console.log('listening'));

const commands = createInterface({ input: process.stdin });
commands.on('line', (line) => {
  if (line === 'rotate') {
    respond = make();
    console.log('rotated');
  } else if (line.startsWith('life ')) {
    life = Number(line.slice(5));
    console.log('set');
  } else if (line === 'polls') {
    console.log(`polls ${polls}`);
  }
});
commands.on('close', () => process.exit(0));
