// A real provider of logins on loopback: node provider.js PORT. Its accounts are what one types in:
// NAME/SITE/ROLE+ROLE, with any password.
import Provider from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const client = {
  application_type: "native", // any port of loopback is fine for the callback
  redirect_uris: ["http://127.0.0.1/login/callback"],
  grant_types: ["authorization_code"],
  response_types: ["code"],
};

const provider = new Provider(issuer, {
  clients: [
    { ...client, client_id: "ultraread", client_secret: "a-secret-of-the-tests-only-0123456789" },
    { ...client, client_id: "public", token_endpoint_auth_method: "none" },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "email", "site", "roles"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, id) => {
    const [name, site, roles] = id.split("/");
    const claims = {
      sub: id.split("#")[0],
      preferred_username: name,
      site: site || undefined,
      roles: roles ? roles.split("#")[0].split("+") : undefined,
    };
    return { accountId: id, claims: async () => claims };
  },
});

provider.listen(port, "127.0.0.1", () => console.log("ready"));
