// Package guard refuses HTTP requests whose access token was revoked.
//
//	h = guard.Middleware(agent, verify)(h)
//
// verify is the service's own verification of a token: signature, issuer,
// audience and times. The guard adds what a service cannot do by itself: it asks
// the agent beside it, from memory, whether the token was revoked since. [JWT] makes a
// verify of golang-jwt. [Claims], [Token] and [FromContext] give handlers what was
// decided. [Guard.AdmitToken] judges tokens that come another way than in a request,
// [Live] ends what is held open for a token.
//
// # What is refused, and how
//
// Answers follow RFC 6750 section 3. A request without a token gets 401 and a
// challenge without an error code. An Authorization header that is not exactly
// one scheme, one blank and one token (RFC 9110 section 11.2), or that comes
// twice or comma-joined, gets 400 invalid_request: another reader might find
// another token in it. So does a token in the header beside one in the query. A
// token that [events.ParseToken] does not read, that verify refuses or that was
// revoked gets 401 invalid_token. What the agent or verify cannot tell gets 503
// with Retry-After, never a pass.
//
// The description of invalid_token is one that a front end can act on: with expired it
// gets another token, with revoked the user must sign in again; malformed, not accepted
// and "not an access token" are mistakes. It stands in WWW-Authenticate and in the JSON
// body.
//
// The schemes Bearer and DPoP are taken. Proof of possession is verify's and the
// service's business, as is every claim.
//
// # The caller's duties
//
// Tokens in a query or a form body are not looked at: a service that takes them
// there must check them itself. Whoever runs the guard without verify, by
// [RevocationOnly], verifies somewhere else on the request's way, by the same
// strict reading.
//
// # Browsers
//
// A page of another origin sends a preflight request without a token first. Put what
// answers it (a CORS middleware) outside of the guard: then refusals have its headers
// too, without which the page does not see why it was refused; for WWW-Authenticate
// it must say Access-Control-Expose-Headers. Where it stands inside, [AllowPreflight]
// lets preflight requests pass.
//
// # When the network is gone
//
// The guard decides from what the agent holds, for as long as the agent was
// complete once. [MaxStaleness] makes a route refuse with 503 instead when the
// agent's knowledge is older.
package guard
