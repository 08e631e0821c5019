package extauthz

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// What a peer may ask for: a request's headers, and a body if Envoy is told to send it.
const (
	maxMessage = 16 << 20 // bytes
	// drainTime is how long calls may go on after Serve was told to end.
	drainTime = 2 * time.Second
)

// Serve answers on the listener until ctx ends, then finishes the calls under way, and
// closes the listener. secure is the TLS configuration, nil for none.
func (s *Server) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	opts := []grpc.ServerOption{grpc.MaxRecvMsgSize(maxMessage), grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute}),
		// As often as Envoy may be told to ask whether the connection is there.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true})}
	if secure != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(secure)))
	}
	srv := grpc.NewServer(opts...)
	s.Register(srv)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("gRPC: %w", err)
	case <-ctx.Done():
	}
	defer time.AfterFunc(drainTime, srv.Stop).Stop()
	srv.GracefulStop()
	if err := <-done; !errors.Is(err, grpc.ErrServerStopped) { // it had not begun
		return err
	}
	return nil
}
