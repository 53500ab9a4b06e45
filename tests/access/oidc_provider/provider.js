// A real OpenID Connect provider for tests: client credentials, RS256 access tokens with a roles claim.
// Prints its issuer URL on one line once it listens on the loopback.
import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import Provider from "oidc-provider";

const audience = process.env.TEST_AUDIENCE;
const roles = JSON.parse(process.env.TEST_ROLES);
const secret = process.env.TEST_CLIENT_SECRET;

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const key = { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys: [key] },
    clients: Object.keys(roles).map((client_id) => ({
      client_id,
      client_secret: secret,
      grant_types: ["client_credentials"],
      response_types: [],
      redirect_uris: [],
    })),
    extraTokenClaims: (_ctx, token) => ({ roles: roles[token.clientId] }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: "catalog",
          audience: resource,
          accessTokenTTL: 600,
          accessTokenFormat: resource === audience ? "jwt" : "opaque",
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
