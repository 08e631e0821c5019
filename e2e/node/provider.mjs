// An OpenID Provider (oidc-provider, certified) with one client, that signs its users
// in and out as it is told, a line of JSON on standard input each, and answers each
// with a line on standard output. Signing in is the authorization code flow of
// openid-client, with a browser's part (redirects and cookies) played by fetch.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import Provider from 'oidc-provider'
import * as oidc from 'openid-client'

const server = createServer((req, res) => app(req, res))
let app = (req, res) => res.writeHead(503).end()
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`
const redirectUri = 'https://shop.example/cb'
const resource = 'https://api.example'
const client = { client_id: 'shop', client_secret: 'a secret of the shop, long enough' }

let provider, config
const sent = [] // what became of logout tokens

async function configure({ backchannel_logout_uri, session }) {
  provider = new Provider(issuer, {
    clients: [
      {
        ...client,
        redirect_uris: [redirectUri],
        backchannel_logout_uri,
        backchannel_logout_session_required: session,
      },
    ],
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resource,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: 'read', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 3600 }),
      },
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (ctx, { uid }) => `/interaction/${uid}` },
    // The dispatcher refuses loopback addresses, where all of this runs.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    cookies: { keys: ['a key of the tests'] },
    // With sessions, access tokens name theirs, as those of many providers do.
    extraTokenClaims: (ctx) => (session ? { sid: ctx.oidc.entities.AuthorizationCode.sid } : {}),
  })
  provider.on('backchannel.success', (ctx, client, accountId, sid) => sent.push({ ok: true, user: accountId, sid }))
  provider.on('backchannel.error', (ctx, err) => sent.push({ ok: false, error: `${err.message} ${err.cause ?? ""}` }))
  const oidcApp = provider.callback()
  app = (req, res) => (req.url.startsWith('/interaction/') ? interact(req, res) : oidcApp(req, res))
  config = await oidc.discovery(new URL(issuer), client.client_id, client.client_secret, undefined, {
    execute: [oidc.allowInsecureRequests],
  })
  return {}
}

let user // who signs in now

// interact stands in for the pages of a login and of a consent.
async function interact(req, res) {
  const { prompt, params, grantId } = await provider.interactionDetails(req, res)
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: user } })
  }
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId: user, clientId: params.client_id })
  grant.addOIDCScope('openid')
  grant.addResourceScope(resource, 'read')
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true })
}

const jars = new Map() // cookies by browser

// browse follows redirects as a browser does, until one leads away.
async function browse(jar, url, options = {}) {
  for (let i = 0; i < 10; i++) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const res = await fetch(url, { ...options, redirect: 'manual', headers: { ...options.headers, cookie } })
    for (const line of res.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
      if (value) jar.set(name, value)
      else jar.delete(name)
    }
    const to = res.headers.get('location')
    if (!to) return { res, url }
    url = new URL(to, url).href
    options = {}
    if (!url.startsWith(issuer)) return { res, url }
  }
  throw new Error('too many redirects')
}

async function login({ name, browser }) {
  user = name
  jars.set(browser, jars.get(browser) ?? new Map())
  const verifier = oidc.randomPKCECodeVerifier()
  const start = oidc.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: 'openid read',
    resource,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  const { url } = await browse(jars.get(browser), start.href)
  const tokens = await oidc.authorizationCodeGrant(config, new URL(url), { pkceCodeVerifier: verifier })
  return { access_token: tokens.access_token }
}

// logout ends the session at the provider, by its confirmation page.
async function logout({ browser }) {
  const jar = jars.get(browser)
  sent.length = 0
  const page = await (await browse(jar, oidc.buildEndSessionUrl(config).href)).res.text()
  const action = /action="([^"]+)"/.exec(page)[1]
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(page)[1]
  await browse(jar, action, { method: 'POST', body: new URLSearchParams({ xsrf, logout: 'yes' }) })
  return { sent: [...sent] }
}

console.log(JSON.stringify({ issuer }))
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line)
  try {
    console.log(JSON.stringify(await { configure, login, logout }[command](rest)))
  } catch (err) {
    console.log(JSON.stringify({ error: err.stack }))
  }
}
process.exit(0)
