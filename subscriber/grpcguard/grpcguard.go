package grpcguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

// Guard has the interceptors of a server. It is safe for concurrent use.
type Guard struct {
	guard *guard.Guard
	live  *guard.Live
}

// New makes a guard. The options are those of package guard, and New refuses what
// guard.New does. The caller must Close.
func New(agent guard.Watched, verify guard.Verify, opts ...guard.Option) (*Guard, error) {
	if agent == nil {
		return nil, errors.New("grpcguard: agent is nil")
	}
	g, err := guard.New(agent, verify, opts...)
	if err != nil {
		return nil, fmt.Errorf("grpcguard: %w", err)
	}
	return &Guard{g, guard.NewLive(agent)}, nil
}

// Close ends the streams that are open, with Unavailable.
func (g *Guard) Close() { g.live.Close() }

// Unary is a grpc.UnaryServerInterceptor.
func (g *Guard) Unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := g.admit(ctx)
	if err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// Stream is a grpc.StreamServerInterceptor.
func (g *Guard) Stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := g.admit(ss.Context())
	if err != nil {
		return err
	}
	ctx, cancel := g.live.Open(ctx, guard.Token(ctx))
	defer cancel()
	s := &stream{ServerStream: ss, ctx: ctx, guard: g}
	err = handler(srv, s)
	if ended := s.ended(); ended != nil {
		return ended // whatever the handler has made of it
	}
	return err
}

// admit decides on a call by its metadata.
func (g *Guard) admit(ctx context.Context) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	a, err := g.guard.Admit(ctx, md.Get("authorization"))
	if err != nil {
		return ctx, g.refuse(ctx, err)
	}
	return guard.NewContext(ctx, a), nil
}

// refuse gives the status of a refusal, and sets the trailer that goes with it.
func (g *Guard) refuse(ctx context.Context, err error) error {
	refusal := guard.RefusalOf(err)
	code, message := codes.Unauthenticated, refusal.Code+": "+refusal.Description
	switch refusal.Status {
	case http.StatusForbidden:
		code = codes.PermissionDenied
	case http.StatusServiceUnavailable:
		code = codes.Unavailable
	}
	if refusal.Code == "" {
		message = "The call needs an access token"
	}
	s := status.New(code, message)
	if detailed, err := s.WithDetails(details(err, refusal)...); err == nil {
		s = detailed
	}
	if code == codes.Unauthenticated {
		// It fails only for a context that is no call's.
		_ = grpc.SetTrailer(ctx, metadata.Pairs("www-authenticate", refusal.Challenge(g.guard.Realm())))
	}
	return s.Err()
}

func details(err error, refusal guard.Refusal) []protoadapt.MessageV1 {
	reason := "TOKEN_MISSING"
	switch {
	case errors.Is(err, subscriber.ErrRevoked):
		reason = "TOKEN_REVOKED"
	case refusal.Code != "":
		reason = strings.ToUpper(refusal.Code)
	}
	out := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: "rescind"}}
	if refusal.Status == http.StatusServiceUnavailable {
		out = append(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(guard.RetryAfter)})
	}
	return out
}

// stream is a stream that ends when its token is revoked.
type stream struct {
	grpc.ServerStream
	ctx   context.Context
	guard *Guard

	once   sync.Once
	status error // once it was ended
}

// Context ends when the token is revoked.
func (s *stream) Context() context.Context { return s.ctx }

// ended is the status of a stream that was ended for its token, nil while it goes on,
// and when it has ended otherwise.
func (s *stream) ended() error {
	cause := context.Cause(s.ctx)
	if !errors.Is(cause, subscriber.ErrRevoked) && !errors.Is(cause, subscriber.ErrClosed) {
		return nil
	}
	s.once.Do(func() { s.status = s.guard.refuse(s.ServerStream.Context(), cause) })
	return s.status
}

// SendMsg sends nothing once the token is revoked.
func (s *stream) SendMsg(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg waits for a message, or for the token to be revoked: m is not to be looked at
// then.
func (s *stream) RecvMsg(m any) error {
	if err := s.ended(); err != nil {
		return err
	}
	received := make(chan error, 1)
	// It returns when the stream ends, at the latest.
	go func() { received <- s.ServerStream.RecvMsg(m) }()
	select {
	case err := <-received:
		return err
	case <-s.ctx.Done():
	}
	if err := s.ended(); err != nil {
		return err
	}
	return <-received // the client has gone
}
