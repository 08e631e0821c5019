// Does with openid-client what it is told on standard input, and prints what came of
// each step: a value, or the error as openid-client raises it.
import * as oidc from 'openid-client'

const input = JSON.parse(await new Response(process.stdin).text())

const authentication = {
  default: () => undefined,
  client_secret_basic: () => oidc.ClientSecretBasic(input.secret),
  client_secret_post: () => oidc.ClientSecretPost(input.secret),
  none: () => oidc.None(),
  private_key_jwt: async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
    const key = await crypto.subtle.importKey('jwk', input.jwk, algorithm, false, ['sign'])
    return oidc.PrivateKeyJwt({ key, kid: input.jwk.kid })
  },
}

const config = await oidc.discovery(
  new URL(input.issuer),
  input.client_id,
  input.method === 'default' ? input.secret : undefined,
  await authentication[input.method](),
  { execute: [oidc.allowInsecureRequests], ...input.options },
)

const results = []
for (const { call, token, parameters } of input.steps) {
  try {
    results.push({ value: (await oidc[call](config, token, parameters)) ?? null })
  } catch (err) {
    results.push({
      error: err.constructor.name,
      code: err.code,
      status: err.status,
      oauth: err.error,
      schemes: Array.isArray(err.cause) ? err.cause.map((c) => c.scheme) : undefined,
    })
  }
}
console.log(JSON.stringify(results))
