// A real provider of logins on loopback: node provider.js PORT ACCOUNTS. Any password is fine; ACCOUNTS is a
// JSON file of what each account is known to be, read at each login.
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const port = Number(process.argv[2]);
const accounts = () => JSON.parse(readFileSync(process.argv[3], "utf8"));
const client = {
  application_type: "native", // any port of loopback is fine for the callback
  redirect_uris: ["http://127.0.0.1/login/callback"],
  grant_types: ["authorization_code"],
  response_types: ["code"],
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    { ...client, client_id: "ultraread", client_secret: "a-secret-of-the-tests-only-0123456789" },
    { ...client, client_id: "public", token_endpoint_auth_method: "none" },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "site", "roles"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, preferred_username: id, ...accounts()[id] }),
  }),
});

provider.listen(port, "127.0.0.1", () => console.log("ready"));
