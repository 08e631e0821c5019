// Package extauthz answers Envoy, and everything else that asks by its external
// authorization protocol over gRPC (envoy.service.auth.v3.Authorization): Istio, Contour,
// Emissary, Gloo. It is a door of the sidecar: it decides as /check does.
//
// # What is asked
//
// The Authorization headers of the request's attributes, whether Envoy sends headers
// merged or raw (encode_raw_headers). Doubled ones are refused either way. A request
// without HTTP attributes, as the network filter sends it, has no token.
//
// # What is answered
//
// A request that may pass gets the status OK and, for the service behind, the header
// x-revocation-status in the place of what the client sent. A refused one is denied with
// the status, the challenge and the body of /check.
//
// What cannot be decided now is denied as well, with 503 and Retry-After, and is not an
// error of the call: Envoy's failure_mode_allow, which lets requests pass when a call
// fails, does not let them pass when the agent says that it knows too little. An agent that
// may decide from what it knows is one without a max_staleness. With failure_mode_allow
// clients can make calls fail that send bodies along (with_request_body): more than 16 MiB
// are an error.
//
// Dynamic metadata has revocation_status, for access logs and later filters.
//
// # Health
//
// grpc.health.v1 tells SERVING once the agent holds a complete set.
package extauthz
