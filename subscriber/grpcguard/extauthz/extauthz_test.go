package extauthz_test

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/certtest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/grpcguard/extauthz"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// site is a server, and what Envoy would ask it with.
type site struct {
	*guardtest.Fleet
	t      *testing.T
	client authv3.AuthorizationClient
	health healthpb.HealthClient
}

func start(t *testing.T, opts ...func(*sidecar.Config)) *site {
	t.Helper()
	f := guardtest.Start(t)
	return serve(t, f, f.Fresh(t), opts...)
}

func serve(t *testing.T, f *guardtest.Fleet, a *subscriber.Agent, opts ...func(*sidecar.Config)) *site {
	t.Helper()
	c := sidecar.Config{Agent: a, Realms: f.Realms}
	for _, o := range opts {
		o(&c)
	}
	side, err := sidecar.New(c)
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, listen(t, side, nil), insecure.NewCredentials())
	return &site{f, t, authv3.NewAuthorizationClient(conn), healthpb.NewHealthClient(conn)}
}

// listen serves until the test ends, and sees that Serve ends well.
func listen(t *testing.T, side *sidecar.Sidecar, secure *tls.Config) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- extauthz.New(side, nil).Serve(ctx, l, secure) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, address string, by credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(by))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// merged is a request as Envoy sends it unless told otherwise: doubled headers are
// joined by a comma.
func merged(method string, header ...string) *authv3.AttributeContext_HttpRequest {
	h := map[string]string{":method": method, ":path": "/orders", "x-request-id": "1"}
	for i := 0; i < len(header); i += 2 {
		name, value := strings.ToLower(header[i]), header[i+1]
		if before, ok := h[name]; ok {
			value = before + "," + value
		}
		h[name] = value
	}
	return &authv3.AttributeContext_HttpRequest{Method: method, Path: "/orders", Headers: h}
}

// raw is a request under encode_raw_headers.
func raw(method string, header ...string) *authv3.AttributeContext_HttpRequest {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(header); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: strings.ToLower(header[i]), RawValue: []byte(header[i+1])})
	}
	return &authv3.AttributeContext_HttpRequest{Method: method, Path: "/orders", HeaderMap: m}
}

// outcome is what comes of a request that a client sent with a status of its own
// making: what the service behind sees of that header, or what the client gets.
type outcome struct {
	Code       codes.Code
	Upstream   []string // X-Revocation-Status as the service behind gets it
	Status     int      // of the answer to the client, when it was refused
	Challenge  string
	RetryAfter string
	Revocation string // X-Revocation-Status of that answer
	Body       string
	Metadata   string
}

func passed(revocation string) outcome {
	return outcome{Code: codes.OK, Upstream: []string{revocation}, Metadata: revocation}
}

func denied(code codes.Code, httpStatus int, revocation, reason, description string) outcome {
	o := outcome{Code: code, Status: httpStatus, Revocation: revocation, Metadata: revocation}
	if reason != "" {
		o.Body = `{"error":"` + reason + `","error_description":"` + description + `"}`
	}
	switch {
	case httpStatus == 401 && reason == "":
		o.Challenge = `Bearer realm="rescind"`
	case httpStatus == 401:
		o.Challenge = `Bearer realm="rescind", error="` + reason + `", error_description="` + description + `"`
	case httpStatus == 503:
		o.RetryAfter = "1"
	}
	return o
}

var (
	live       = passed("live")
	wasRevoked = denied(codes.Unauthenticated, 401, "revoked", "invalid_token", "revoked")
	malformed  = denied(codes.Unauthenticated, 401, "unknown", "invalid_token", "malformed")
	noToken    = denied(codes.Unauthenticated, 401, "unknown", "", "")
	notOne     = denied(codes.Unauthenticated, 401, "unknown", "invalid_request", "The request must carry exactly one token, in one Authorization header")
)

func (s *site) check(r *authv3.AttributeContext_HttpRequest) outcome {
	s.t.Helper()
	return s.ask(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: r}}})
}

// ask does with the answer what Envoy does.
func (s *site) ask(r *authv3.CheckRequest) outcome {
	s.t.Helper()
	answer, err := s.client.Check(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	o := outcome{Code: codes.Code(answer.GetStatus().GetCode()), Metadata: answer.GetDynamicMetadata().GetFields()["revocation_status"].GetStringValue()}
	if ok := answer.GetOkResponse(); ok != nil {
		upstream := http.Header{"X-Revocation-Status": {"live"}} // the client's own
		mutate(upstream, ok.Headers)
		o.Upstream = upstream["X-Revocation-Status"]
	}
	if d := answer.GetDeniedResponse(); d != nil {
		h := http.Header{}
		mutate(h, d.Headers)
		o.Status, o.Body = int(d.GetStatus().GetCode()), strings.TrimSpace(d.Body)
		o.Challenge, o.RetryAfter, o.Revocation = h.Get("WWW-Authenticate"), h.Get("Retry-After"), h.Get("X-Revocation-Status")
		if h.Get("Cache-Control") != "no-store" {
			s.t.Error("a refusal may be kept by a cache")
		}
	}
	return o
}

// mutate changes headers as Envoy does: it appends unless told to replace.
func mutate(h http.Header, options []*corev3.HeaderValueOption) {
	for _, o := range options {
		if o.AppendAction == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			h.Set(o.Header.Key, o.Header.Value)
			continue
		}
		h.Add(o.Header.Key, o.Header.Value)
	}
}

func TestEnvoyIsTold(t *testing.T) {
	s := start(t)
	good, gone := s.Token(t, realm.TokenRequest{User: "ann"}), s.Token(t, realm.TokenRequest{User: "bob"})
	s.RevokeUser(t, "bob")
	bustest.Eventually(t, "bob's token is refused", func() bool { return s.check(merged("GET", "Authorization", "Bearer "+gone)).Code != codes.OK })
	both := merged("GET", "Authorization", "Bearer "+good)
	both.HeaderMap = raw("GET", "Authorization", "Bearer "+gone).HeaderMap
	valued := raw("GET", "x", "y")
	valued.HeaderMap.Headers = append(valued.HeaderMap.Headers, &corev3.HeaderValue{Key: "authorization", Value: "Bearer " + gone})
	spelled := merged("GET", "Authorization", "Bearer "+good)
	spelled.Headers["Authorization"] = "Bearer " + gone
	spelledRaw := raw("GET", "Authorization", "Bearer "+good, "Authorization", "Bearer "+gone)
	spelledRaw.HeaderMap.Headers[1].Key = "Authorization"
	for name, c := range map[string]struct {
		asked *authv3.AttributeContext_HttpRequest
		want  outcome
	}{
		"live":                      {merged("GET", "Authorization", "Bearer "+good), live},
		"live, raw":                 {raw("GET", "Authorization", "Bearer "+good), live},
		"any method":                {merged("PROPFIND", "Authorization", "Bearer "+good), live},
		"revoked":                   {merged("GET", "Authorization", "Bearer "+gone), wasRevoked},
		"revoked, raw":              {raw("GET", "Authorization", "Bearer "+gone), wasRevoked},
		"revoked, in value":         {valued, wasRevoked},
		"none":                      {merged("GET"), noToken},
		"none, raw":                 {raw("GET"), noToken},
		"Basic":                     {merged("GET", "Authorization", "Basic YTpi"), noToken},
		"preflight":                 {merged("OPTIONS", "Origin", "https://a", "Access-Control-Request-Method", "PUT"), noToken},
		"doubled":                   {merged("GET", "Authorization", "Bearer "+good, "Authorization", "Bearer "+gone), notOne},
		"doubled, raw":              {raw("GET", "Authorization", "Bearer "+good, "Authorization", "Bearer "+gone), notOne},
		"merged and raw":            {both, notOne},
		"two spellings":             {spelled, notOne},
		"two spellings, raw":        {spelledRaw, notOne},
		"not UTF-8":                 {merged("GET", "Authorization", "Bearer !"+good), notOne}, // Envoy replaces by !
		"opaque":                    {merged("GET", "Authorization", "Bearer abc"), malformed},
		"a status of its own":       {merged("GET", "Authorization", "Bearer "+good, "X-Revocation-Status", "fresh"), live},
		"in the query":              {&authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/?access_token=" + good}, noToken},
		"no headers and a raw body": {&authv3.AttributeContext_HttpRequest{Method: "POST", RawBody: []byte("access_token=" + good)}, noToken},
	} {
		if diff := cmp.Diff(c.want, s.check(c.asked)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, asked := range map[string]*authv3.CheckRequest{
		"nothing":         {},
		"no request":      {Attributes: &authv3.AttributeContext{}},
		"no HTTP request": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
	} {
		if diff := cmp.Diff(noToken, s.ask(asked)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestGenuineTokenThatIsNotAllowedIs403(t *testing.T) {
	s := start(t)
	long := s.Token(t, realm.TokenRequest{User: "ann", TTL: 1000 * time.Hour})
	want := denied(codes.PermissionDenied, 403, "unknown", "access_denied", "The access token is not allowed here")
	if diff := cmp.Diff(want, s.check(merged("GET", "Authorization", "Bearer "+long))); diff != "" {
		t.Error(diff)
	}
}

// What is not known is a refusal and no error of the call, which failure_mode_allow
// would let pass.
func TestAgentThatKnowsTooLittleDenies(t *testing.T) {
	f := guardtest.Start(t)
	a := f.Unsynced(t)
	s := serve(t, f, a)
	strict := serve(t, f, a, func(c *sidecar.Config) { c.MaxStaleness = time.Nanosecond })
	asked := merged("GET", "Authorization", "Bearer "+f.Token(t, realm.TokenRequest{User: "ann"}))
	want := denied(codes.Unavailable, 503, "unknown", "temporarily_unavailable", "What was revoked is not known yet")
	if diff := cmp.Diff(want, s.check(asked)); diff != "" {
		t.Errorf("unsynced: %s", diff)
	}
	s.healthy(healthpb.HealthCheckResponse_NOT_SERVING)
	f.Refresh(t, a)
	if diff := cmp.Diff(live, s.check(asked)); diff != "" {
		t.Errorf("fresh: %s", diff)
	}
	s.healthy(healthpb.HealthCheckResponse_SERVING)
	want = denied(codes.Unavailable, 503, "stale", "temporarily_unavailable", "What was revoked is known only up to too long ago")
	if diff := cmp.Diff(want, strict.check(asked)); diff != "" {
		t.Errorf("stale: %s", diff)
	}
	f.Owe(t)
	bustest.Eventually(t, "the status says stale", func() bool { return cmp.Equal(passed("stale"), s.check(asked)) })
}

func (s *site) healthy(want healthpb.HealthCheckResponse_ServingStatus) {
	s.t.Helper()
	got, err := s.health.Check(s.t.Context(), &healthpb.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
	if err != nil || got.Status != want {
		s.t.Errorf("health: %v, %v; want %v", got, err, want)
	}
}

func TestPreflightPassesWhereAllowed(t *testing.T) {
	s := start(t, func(c *sidecar.Config) { c.PreflightFrom = "X-Original-Method" })
	browser := []string{"Origin", "https://a", "Access-Control-Request-Method", "PUT", "X-Original-Method", "OPTIONS"}
	if diff := cmp.Diff(passed("unknown"), s.check(merged("OPTIONS", browser...))); diff != "" {
		t.Error(diff)
	}
	// Here the method is Envoy's word, and nobody else's.
	if diff := cmp.Diff(noToken, s.check(merged("PUT", browser...))); diff != "" {
		t.Error(diff)
	}
}

func TestACheckThatPanicsIsRefused(t *testing.T) {
	// An agent that was never opened has no set to look into.
	side, err := sidecar.New(sidecar.Config{Agent: &subscriber.Agent{}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	f := guardtest.Start(t)
	asked := merged("GET", "Authorization", "Bearer "+f.Token(t, realm.TokenRequest{User: "ann"}))
	answer, err := extauthz.New(side, slog.New(slog.NewTextHandler(&log, nil))).Check(t.Context(), &authv3.CheckRequest{
		Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: asked}}})
	if err != nil || answer.GetStatus().GetCode() != int32(codes.Unavailable) || answer.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Errorf("got %v, %v", answer, err)
	}
	if !strings.Contains(log.String(), "a check panicked") {
		t.Errorf("log: %s", log.String())
	}
}

func TestServeMayEndBeforeItBegins(t *testing.T) {
	side, err := sidecar.New(sidecar.Config{Agent: &subscriber.Agent{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := extauthz.New(side, nil).Serve(ctx, l, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServesTLSToThoseWithACertificate(t *testing.T) {
	dir := t.TempDir()
	ca, err := certtest.NewCA(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair := func(name string) tls.Certificate {
		err := ca.Sign(name, pkix.Name{CommonName: name})
		p, loadErr := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err := errors.Join(err, loadErr); err != nil {
			t.Fatal(err)
		}
		return p
	}
	pool, err := certtest.Pool(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	f := guardtest.Start(t)
	side, err := sidecar.New(sidecar.Config{Agent: f.Fresh(t), Realms: f.Realms})
	if err != nil {
		t.Fatal(err)
	}
	address := listen(t, side, &tls.Config{Certificates: []tls.Certificate{pair("server")}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	for name, c := range map[string]struct {
		by   credentials.TransportCredentials
		want codes.Code
	}{
		"a certificate":  {credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{pair("envoy")}}), codes.OK},
		"no certificate": {credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "localhost"}), codes.Unavailable},
		"an unknown CA":  {credentials.NewTLS(&tls.Config{ServerName: "localhost", Certificates: []tls.Certificate{pair("envoy2")}}), codes.Unavailable},
		"in the clear":   {insecure.NewCredentials(), codes.Unavailable},
	} {
		_, err := authv3.NewAuthorizationClient(dial(t, address, c.by)).Check(t.Context(), &authv3.CheckRequest{})
		if status.Code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestLongRequestsAreRefused(t *testing.T) {
	s := start(t)
	r := merged("GET", "Authorization", "Bearer "+s.Token(t, realm.TokenRequest{User: "ann"}), "X", strings.Repeat("x", 16<<20))
	// The client's own bound is on what it receives.
	_, err := s.client.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: r}}})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}
