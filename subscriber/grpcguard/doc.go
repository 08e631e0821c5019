// Package grpcguard refuses gRPC calls whose access token was revoked, and ends
// streams whose token is revoked while they are open.
//
//	g, err := grpcguard.New(agent, verify)
//	defer g.Close()
//	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(g.Unary), grpc.ChainStreamInterceptor(g.Stream))
//
// It decides as the guard of package guard does, from the metadata "authorization":
// exactly one value, of one scheme and one token. Handlers get the token's claims from
// guard.Claims and the token from guard.Token.
//
// # What is refused, and how
//
// A call without a token, with one that is malformed, not accepted or revoked ends with
// Unauthenticated; one whose token is genuine and not allowed with PermissionDenied;
// what cannot be decided now with Unavailable. The status has a
// google.rpc.ErrorInfo of the domain "rescind", whose reason is TOKEN_REVOKED for a
// token that was revoked and otherwise the error of RFC 6750 in capitals; the trailer
// "www-authenticate" has the challenge. Unavailable has a google.rpc.RetryInfo.
//
// # Open streams
//
// When the token of an open stream is revoked, the stream's context ends, a RecvMsg
// that waits returns, and each SendMsg and RecvMsg from then on gives the status that
// the stream ends with: as when its client goes away. A handler that looks at none of
// them holds the stream open.
package grpcguard
