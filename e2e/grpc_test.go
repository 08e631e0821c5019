package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/grpcguard"
	"github.com/rescind/rescind/subscriber/guard"
)

// chatService echoes, once or for as long as the client speaks.
var chatService = grpc.ServiceDesc{ServiceName: "e2e.Chat", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/e2e.Chat/Say"}, func(_ context.Context, req any) (any, error) { return req, nil })
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for {
			in := new(wrapperspb.StringValue)
			if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(in); err != nil {
				return err
			}
		}
	}}},
}

// serveChat serves it with the interceptors, before an agent of the gateway's fleet.
func serveChat(t *testing.T, g *gateway) *grpc.ClientConn {
	t.Helper()
	nc, err := nats.Connect(g.nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	agent, err := subscriber.Open(t.Context(), nc, subscriber.Config{Service: "chat", Dir: t.TempDir(), Keys: subscriber.KeysFile(filepath.Join(g.dir, "publishers.jwks"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Close(); err != nil {
			t.Error(err)
		}
	})
	<-agent.Synced()
	verify, err := guard.JWT{Keys: g.issuer.Key, Methods: []string{"RS256"}, Issuers: []string{g.issuer.Name}, Audiences: []string{"orders"}}.Verify()
	if err != nil {
		t.Fatal(err)
	}
	guarded, err := grpcguard.New(agent, verify)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guarded.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(guarded.Unary), grpc.ChainStreamInterceptor(guarded.Stream))
	srv.RegisterService(&chatService, struct{}{})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return dial(t, l.Addr().String())
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// within is how soon a revocation must be in force at a gRPC service, and slow is how
// many of the rounds may take longer: the machine has other things to do.
const (
	within = 100 * time.Millisecond
	rounds = 20
	slow   = 2
)

func TestGRPCServiceRefusesAndEndsStreams(t *testing.T) {
	g := newGateway(t)
	conn := serveChat(t, g)
	var ended, refused []time.Duration
	for i := range rounds {
		raw := g.token(fmt.Sprint("user-", i))
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+raw), 10*time.Second)
		talk, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/e2e.Chat/Talk")
		if err != nil {
			t.Fatal(err)
		}
		in := new(wrapperspb.StringValue)
		if err := errors.Join(talk.SendMsg(wrapperspb.String("hello")), talk.RecvMsg(in)); err != nil || in.Value != "hello" {
			t.Fatalf("the stream of a live token: %q, %v", in.Value, err)
		}
		say := func() error {
			return conn.Invoke(ctx, "/e2e.Chat/Say", wrapperspb.String("hello"), new(wrapperspb.StringValue))
		}
		if err := say(); err != nil {
			t.Fatalf("the call of a live token: %v", err)
		}
		end := make(chan time.Time, 1)
		go func() {
			if err := talk.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Unauthenticated {
				t.Errorf("the stream ends with %v", err)
			}
			end <- time.Now()
		}()
		calls := make(chan time.Time, 1)
		go func() {
			for ctx.Err() == nil {
				if err := say(); err != nil {
					if status.Code(err) != codes.Unauthenticated {
						t.Errorf("the call ends with %v", err)
					}
					break
				}
			}
			calls <- time.Now()
		}()
		sent := time.Now()
		if code, body := request(t, http.MethodDelete, g.publisher+"/_security/oauth2/token", g.admin, fmt.Sprintf(`{"token":%q}`, raw)); code != 200 {
			t.Fatalf("DELETE: %d %s", code, body)
		}
		ended, refused = append(ended, (<-end).Sub(sent)), append(refused, (<-calls).Sub(sent))
		cancel()
	}
	for what, took := range map[string][]time.Duration{"open streams ended": ended, "unary calls were refused": refused} {
		slices.Sort(took)
		t.Logf("%s %.1f ms after DELETE was sent (median of %d; slowest %.1f ms)", what, ms(took[rounds/2]), rounds, ms(took[rounds-1]))
		if took[rounds-1-slow] > within {
			t.Errorf("%s: more than %d of %d took longer than %s: %v", what, slow, rounds, within, took)
		}
	}
}
