// Package sidecar is the agent's HTTP side: what proxies ask before they pass a
// request on, what services in other languages ask about a token, and what
// people and monitoring look at.
//
// # Who may call
//
// Nobody is authenticated: serve the handler on a loopback address or a unix
// socket, where only the service beside it can reach it. /introspect and /check
// tell whether a token is good, /v1/watch names users.
//
// # Verifying, or revocation-only
//
// With realms the sidecar verifies tokens, and says Rescind-Mode: verifying in
// every answer. Without, it only knows what was revoked (Rescind-Mode:
// revocation-only): a 200 of /check then says that a token was not revoked, never
// that it is genuine, and whoever asks must verify it too.
//
// # /check
//
// /check and everything below it, under any method, judge the token in the
// Authorization header: exactly 200 with an empty body lets the request pass, 401
// with WWW-Authenticate refuses the token, 403 says that a genuine token is not
// allowed (it lives longer than its realm lets it, so it could not be revoked
// reliably), 503 with Retry-After that nothing can be said now. There is no 400,
// which nginx would turn into a 500: a malformed header gets 401 with the code
// invalid_request. Tokens in a query or a body are not seen.
//
// With Config.PreflightFrom a browser's preflight requests pass, which have no token.
//
// X-Revocation-Status is in every answer, so that no client can slip its own past
// a proxy that copies it: live, revoked, stale when the verdict or its absence
// rests on old knowledge, unknown when there is no verdict.
//
// # What is kept of tokens
//
// What reading and verifying a token gave is kept, so that the next request with
// it costs little more than one that is not checked. It is known by SHA-256 of the
// token's exact bytes; the token itself is not kept. At every request the agent is
// asked whether it was revoked, its times are judged anew, and it is verified anew
// once its issuer's keys are not those that it was verified with. Only tokens that
// were accepted are kept, those that were used last, up to Config.CacheTokens and
// 4 KiB of memory for each; the realm's keys are renewed as without a cache. A
// revocation-only sidecar keeps whatever it could read: a flood of made-up tokens
// then costs others their place, and so the time to read them, and no more.
//
// rescind_agent_token_cache_lookups_total counts by result, hit or miss;
// rescind_agent_token_cache_entries and _bytes tell what is kept.
//
// # /introspect
//
// POST /introspect speaks RFC 7662, form-encoded, at most 64 KiB. A JWT is
// verified, so it needs realms: without, every JWT gets 501. A long-lived refresh
// token in the form of a JWT is inactive: it is no access token. An opaque token
// is active while it was observed and is not revoked, with no other member;
// unknown ones are inactive. Not ready and stale are 503.
//
// # /observe
//
// POST /observe takes what issuers and proxies have seen: {"token":…} for an
// access token, which is verified, or {"refresh_token":…,"realm":…,"user":…,
// "expires_at":unix}, or an array of up to 1,000 of either, at most 4 MiB. Either
// all is taken (204) or nothing (problem+json). Expired tokens are no error. A
// refresh token in the form of a JWT is verified and must be of the realm named.
// Without realms anything in the form of a JWT gets 409: only what is verified
// may be counted.
//
// # Looking on
//
// GET /v1/status gives the agent's status. GET /v1/watch gives revocations as
// they come into force, as server-sent events: revocation, or dropped when some
// were lost because the reader was too slow, after which it must check all that
// it holds open. Watches end with their request or with the agent: let the
// server's BaseContext end before Shutdown. /metrics, /healthz and /readyz are
// what they are everywhere; /readyz?fresh asks for a fresh agent.
package sidecar
