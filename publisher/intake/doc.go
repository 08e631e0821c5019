// Package intake holds the doors by which revocations come in over HTTP: one
// file or a few per protocol, all of them calling Publisher.Revoke.
//
// # Use
//
// [New] makes a [Server] of a publisher, an [Authenticator] and the realms. The
// Server is an http.Handler; whoever serves it sets the timeouts and the limit
// on header bytes, and must let a request take 30 seconds and some. Server.Poll
// fetches the events of transmitters that do not push, for as long as it runs.
//
// # The doors
//
//	DELETE /_security/oauth2/token      Elasticsearch's invalidate-token API
//	DELETE /identity/api/tokens         LUSID's sign-out
//	POST   /oauth2/revoke, /oauth2/introspect  OAuth (RFC 7009, RFC 7662)
//	POST   /backchannel-logout          OIDC Back-Channel Logout
//	POST   /global-token-revocation     Okta's Universal Logout, where it is switched on
//	POST   /ssf/events                  security events of configured transmitters (RFC 8935)
//	GET    /.well-known/ssf-configuration, /ssf/…  streams of events to receivers (SSF 1.0)
//	POST   /v1/revocations              rescind's own, and what reads it; long lists as lines (NDJSON)
//	GET    /.well-known/jwks.json, /openapi.json, /healthz, /readyz, /metrics, /
//
// # What holds for all of them
//
// A caller is authenticated before its request is read (but for credentials that
// stand in a form or are a signed statement), and authorised before anything is
// done: by one function, Server.revoke, through which every order goes. Every error
// has its status in one table, and each door gives it in its protocol's own form.
// What is wrong inside is logged, not sent. Who is refused because of who it is, or of
// what it showed, is recorded in the audit stream.
//
// Bodies are bounded, also after unpacking. A JSON member that stands there
// twice, is unknown, or differs in case is refused: what was checked must be what
// is revoked. Tokens are taken from bodies and the Authorization header only,
// never from the query string, and appear in no answer, log line or metric.
//
// # Tokens that are to be revoked
//
// A JWT must be of a configured realm and rightly signed; nothing else about it
// matters, unless it has expired: then there is nothing to revoke. In a list,
// expired tokens are left out and counted as expired_tokens. What cannot be
// verified is unknown, and nothing is published for it. Keys that cannot be had
// are no verdict: 503.
//
// Of an opaque refresh token the agents are asked. It is unknown only if each of
// them says so, its realm does not accept all, and the publisher has not revoked
// it before.
package intake
