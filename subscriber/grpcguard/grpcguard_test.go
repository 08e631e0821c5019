package grpcguard_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/grpcguard"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// site is a gRPC server with the interceptors, and a client.
type site struct {
	*guardtest.Fleet
	agent  *subscriber.Agent
	guard  *grpcguard.Guard
	conn   *grpc.ClientConn
	closed chan error // what handlers of Chat end with
}

// echoService says who calls, once or for each message.
func (s *site) echoService() *grpc.ServiceDesc {
	who := func(ctx context.Context, text string) *wrapperspb.StringValue {
		sub, _ := guard.Claims(ctx)["sub"].(string)
		return wrapperspb.String(sub + ": " + text)
	}
	chat := func(_ any, ss grpc.ServerStream) (err error) {
		defer func() { s.closed <- err }()
		for {
			in := new(wrapperspb.StringValue)
			if err := ss.RecvMsg(in); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := ss.SendMsg(who(ss.Context(), in.Value)); err != nil {
				return err
			}
		}
	}
	// Tick sends for as long as it can, and looks at nothing else.
	tick := func(_ any, ss grpc.ServerStream) error {
		for {
			if err := ss.SendMsg(wrapperspb.String("tick")); err != nil {
				return errors.New("an error of the handler's own")
			}
		}
	}
	echo := func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Echo/Say"}, func(ctx context.Context, req any) (any, error) {
			return who(ctx, req.(*wrapperspb.StringValue).Value), nil
		})
	}
	return &grpc.ServiceDesc{ServiceName: "test.Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: echo}},
		Streams: []grpc.StreamDesc{{StreamName: "Chat", Handler: chat, ServerStreams: true, ClientStreams: true}, {StreamName: "Tick", Handler: tick, ServerStreams: true}}}
}

func start(t *testing.T, opts ...guard.Option) *site {
	t.Helper()
	f := guardtest.Start(t)
	return serveEcho(t, f, f.Fresh(t), opts...)
}

func serveEcho(t *testing.T, f *guardtest.Fleet, a *subscriber.Agent, opts ...guard.Option) *site {
	t.Helper()
	s := &site{Fleet: f, agent: a, closed: make(chan error, 1000)}
	var err error
	if s.guard, err = grpcguard.New(s.agent, f.Verify, opts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.guard.Close)
	srv := grpc.NewServer(grpc.ChainUnaryInterceptor(s.guard.Unary), grpc.ChainStreamInterceptor(s.guard.Stream))
	srv.RegisterService(s.echoService(), struct{}{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	if s.conn, err = grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

func with(t *testing.T, authorization ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", authorization...)
	return metadata.NewOutgoingContext(t.Context(), md)
}

func (s *site) say(ctx context.Context, opts ...grpc.CallOption) (string, error) {
	out := new(wrapperspb.StringValue)
	err := s.conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String("hello"), out, opts...)
	return out.Value, err
}

// chat is an open stream, on which something was said already.
func (s *site) chat(t *testing.T, user string) grpc.ClientStream {
	t.Helper()
	c, err := s.conn.NewStream(with(t, "Bearer "+s.Token(t, realm.TokenRequest{User: user})), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := talk(c); got != user+": hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	return c
}

func talk(c grpc.ClientStream) (string, error) {
	if err := c.SendMsg(wrapperspb.String("hello")); err != nil {
		return "", err
	}
	out := new(wrapperspb.StringValue)
	err := c.RecvMsg(out)
	return out.Value, err
}

// want checks the status of a refusal, with its reason.
func want(t *testing.T, name string, err error, code codes.Code, reason string) {
	t.Helper()
	s := status.Convert(err)
	var info *errdetails.ErrorInfo
	retry := false
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d.RetryDelay.AsDuration() == time.Second
		}
	}
	if s.Code() != code || info.GetReason() != reason || info.GetDomain() != "rescind" || s.Message() == "" || retry != (code == codes.Unavailable) {
		t.Errorf("%s: got %v %q, %v, retry %v; want %v %s", name, s.Code(), s.Message(), info, retry, code, reason)
	}
}

func TestCallsAreRefused(t *testing.T) {
	s := start(t)
	raw, revoked := s.Token(t, realm.TokenRequest{User: "jack"}), s.Token(t, realm.TokenRequest{User: "jim"})
	if got, err := s.say(with(t, "Bearer "+raw)); got != "jack: hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	watch := s.agent.Watch()
	defer watch.Close()
	s.RevokeToken(t, revoked)
	<-watch.C
	forged := raw[:strings.LastIndexByte(raw, '.')+1] + strings.Repeat("A", 86)
	for name, c := range map[string]struct {
		authorization []string
		reason        string
	}{
		"none":       {nil, "TOKEN_MISSING"},
		"basic":      {[]string{"Basic YTpi"}, "TOKEN_MISSING"},
		"revoked":    {[]string{"Bearer " + revoked}, "TOKEN_REVOKED"},
		"forged":     {[]string{"Bearer " + forged}, "INVALID_TOKEN"},
		"malformed":  {[]string{"Bearer x.y.z"}, "INVALID_TOKEN"},
		"twice":      {[]string{"Bearer " + raw, "Bearer " + raw}, "INVALID_REQUEST"},
		"two in one": {[]string{"Bearer " + raw + ", Bearer " + raw}, "INVALID_REQUEST"},
	} {
		var trailer metadata.MD
		_, err := s.say(with(t, c.authorization...), grpc.Trailer(&trailer))
		want(t, name, err, codes.Unauthenticated, c.reason)
		if challenge := strings.Join(trailer.Get("www-authenticate"), ""); !strings.HasPrefix(challenge, `Bearer realm="rescind"`) {
			t.Errorf("%s: challenge %q", name, challenge)
		}
		stream, err := s.conn.NewStream(with(t, c.authorization...), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Chat")
		if err == nil {
			_, err = talk(stream)
			if errors.Is(err, io.EOF) {
				err = stream.RecvMsg(new(wrapperspb.StringValue))
			}
		}
		want(t, name+", stream", err, codes.Unauthenticated, c.reason)
	}
}

func TestWhatCannotBeDecidedIsUnavailable(t *testing.T) {
	s := start(t, guard.MaxStaleness(time.Nanosecond))
	_, err := s.say(with(t, "Bearer "+s.Token(t, realm.TokenRequest{User: "jack"})))
	want(t, "stale", err, codes.Unavailable, "TEMPORARILY_UNAVAILABLE")
}

// A genuine token that a policy refuses is another thing than one that is not accepted.
func TestPolicyIsPermission(t *testing.T) {
	f := guardtest.Start(t)
	g, err := grpcguard.New(f.Fresh(t), func(context.Context, string) (jwt.MapClaims, error) { return nil, guard.ErrForbidden })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+f.Token(t, realm.TokenRequest{User: "jack"})))
	_, err = g.Unary(ctx, nil, nil, func(context.Context, any) (any, error) {
		t.Error("the handler is called")
		return nil, nil
	})
	want(t, "policy", err, codes.PermissionDenied, "ACCESS_DENIED")
}

// An open stream ends when its token is revoked, whether its handler waits for the
// client or only sends; another user's goes on.
func TestStreamsAreCut(t *testing.T) {
	s := start(t)
	jack, jill := s.chat(t, "jack"), s.chat(t, "jill")
	tick, err := s.conn.NewStream(with(t, "Bearer "+s.Token(t, realm.TokenRequest{User: "jack"})), &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/Tick")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tick.SendMsg(wrapperspb.String("")), tick.CloseSend(), tick.RecvMsg(new(wrapperspb.StringValue))); err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, 2)
	for _, c := range []grpc.ClientStream{jack, tick} {
		go func() {
			var err error
			for err == nil {
				err = c.RecvMsg(new(wrapperspb.StringValue))
			}
			ends <- err
		}()
	}
	s.RevokeUser(t, "jack")
	for range 2 {
		want(t, "jack's stream", guardtest.Within(t, "the end of jack's stream", ends), codes.Unauthenticated, "TOKEN_REVOKED")
	}
	if err := guardtest.Within(t, "the end of the handler", s.closed); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the handler ends with %v", err)
	}
	if challenge := jack.Trailer().Get("www-authenticate"); len(challenge) != 1 || !strings.Contains(challenge[0], "revoked") {
		t.Errorf("challenge %q", challenge)
	}
	if got, err := talk(jill); got != "jill: hello" {
		t.Errorf("jill's stream: %q, %v", got, err)
	}
	// One that its client ends, ends as ever.
	if err := jill.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := jill.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("jill's stream ends with %v", err)
	}
	if err := guardtest.Within(t, "the end of jill's handler", s.closed); err != nil {
		t.Errorf("jill's handler ends with %v", err)
	}
}

func TestStreamsEndWithTheirClientAndWithTheGuard(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithCancel(with(t, "Bearer "+s.Token(t, realm.TokenRequest{User: "jim"})))
	c, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := talk(c); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := guardtest.Within(t, "the end of the handler", s.closed); status.Code(err) != codes.Canceled {
		t.Errorf("the handler ends with %v", err)
	}
	jack := s.chat(t, "jack")
	s.guard.Close()
	want(t, "at the end", jack.RecvMsg(new(wrapperspb.StringValue)), codes.Unavailable, "TEMPORARILY_UNAVAILABLE")
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	f := guardtest.Start(t)
	if _, err := grpcguard.New(nil, f.Verify); err == nil {
		t.Error("no agent is needed")
	}
	if _, err := grpcguard.New(f.Fresh(t), nil); err == nil {
		t.Error("no verify is needed")
	}
}
