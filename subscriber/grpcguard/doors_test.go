package grpcguard_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/internal/tokentest"
	"github.com/rescind/rescind/subscriber/grpcguard/extauthz"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// door lets a request pass, or not.
type door func(t *testing.T, a tokentest.Attempt) bool

// allDoors are the ways out of an agent: each stands before a service.
type allDoors struct {
	*guardtest.Fleet
	issuer *tokentest.Issuer
	realm  *realm.Realm
	doors  map[string]door
}

func openDoors(t *testing.T) *allDoors {
	t.Helper()
	f := guardtest.Start(t)
	d := &allDoors{Fleet: f, issuer: tokentest.NewIssuer(t, "https://idp.example.com")}
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	d.issuer.WriteJWKS(t, jwks)
	var err error
	if f.Realms, err = realm.New(map[string]realm.Config{"shop": {Issuers: []string{d.issuer.Name}, JWKS: jwks}}, realm.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Realms.Close)
	d.realm, _ = f.Realms.Get("shop")
	agent := f.Fresh(t)
	byJWT, err := guard.JWT{Keys: d.issuer.Key, Methods: tokentest.Algorithms, Issuers: []string{d.issuer.Name}, Audiences: []string{tokentest.Audience}}.Verify()
	if err != nil {
		t.Fatal(err)
	}
	side, err := sidecar.New(sidecar.Config{Agent: agent, Realms: f.Realms})
	if err != nil {
		t.Fatal(err)
	}
	sidecarURL, calls, envoy := serveHTTP(t, side), serveEcho(t, f, agent), serveEnvoy(t, side)
	service := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	d.doors = map[string]door{
		"net/http":             over(serveHTTP(t, guard.Middleware(agent, f.Verify)(service))),
		"net/http, golang-jwt": over(serveHTTP(t, guard.Middleware(agent, byJWT)(service))),
		"/check":               over(sidecarURL + "/check"),
		"/check, a path below": over(sidecarURL + "/check/orders/1"),
		"/introspect":          introspecting(sidecarURL + "/introspect"),
		"gRPC, unary": func(t *testing.T, a tokentest.Attempt) bool {
			_, err := calls.say(with(t, a.Authorization...))
			return err == nil
		},
		"gRPC, stream": func(t *testing.T, a tokentest.Attempt) bool {
			c, err := calls.conn.NewStream(with(t, a.Authorization...), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Chat")
			if err == nil {
				_, err = talk(c)
			}
			return err == nil
		},
		"Envoy, merged": func(t *testing.T, a tokentest.Attempt) bool {
			h := map[string]string{}
			if len(a.Authorization) > 0 {
				h["authorization"] = strings.Join(a.Authorization, ",")
			}
			return asked(t, envoy, a, &authv3.AttributeContext_HttpRequest{Headers: h})
		},
		"Envoy, raw": func(t *testing.T, a tokentest.Attempt) bool {
			h := &corev3.HeaderMap{}
			for _, v := range a.Authorization {
				h.Headers = append(h.Headers, &corev3.HeaderValue{Key: "authorization", RawValue: []byte(v)})
			}
			return asked(t, envoy, a, &authv3.AttributeContext_HttpRequest{HeaderMap: h})
		},
	}
	return d
}

func serveHTTP(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// serveEnvoy gives a client as Envoy is one.
func serveEnvoy(t *testing.T, side *sidecar.Sidecar) authv3.AuthorizationClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- extauthz.New(side, nil).Serve(ctx, l, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

// over is a door that speaks HTTP.
func over(base string) door {
	return func(t *testing.T, a tokentest.Attempt) bool {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"?"+a.Query, strings.NewReader(a.Form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
		r.Header["Authorization"] = a.Authorization
		status, _ := answerTo(t, r)
		return status == http.StatusOK
	}
}

func introspecting(target string) door {
	return func(t *testing.T, a tokentest.Attempt) bool {
		t.Helper()
		form := a.Form
		if a.Token != "" {
			form = url.Values{"token": {a.Token}}.Encode()
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target+"?"+a.Query, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
		_, body := answerTo(t, r)
		return strings.Contains(body, `"active":true`)
	}
}

func answerTo(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func asked(t *testing.T, envoy authv3.AuthorizationClient, a tokentest.Attempt, r *authv3.AttributeContext_HttpRequest) bool {
	t.Helper()
	r.Method, r.Path, r.Body = http.MethodPost, "/?"+a.Query, a.Form
	answer, err := envoy.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: r}}})
	return err == nil && answer.GetStatus().GetCode() == int32(codes.OK)
}

func TestNoDoorLetsWhatIsNoAccessTokenPass(t *testing.T) {
	d := openDoors(t)
	attempts := d.issuer.Never(t)
	for name, passes := range d.doors {
		t.Run(name, func(t *testing.T) {
			for _, alg := range tokentest.Algorithms {
				good := d.issuer.Token(t, alg, d.issuer.Claims("ann", nil))
				if !passes(t, tokentest.Attempt{Authorization: []string{"Bearer " + good}, Token: good}) {
					t.Fatalf("a good token by %s is refused", alg)
				}
			}
			for _, a := range attempts {
				if passes(t, a) {
					t.Errorf("%s passes", a.Name)
				}
			}
		})
	}
}

func TestNoDoorLetsWhatWasRevokedPassInAnotherForm(t *testing.T) {
	d := openDoors(t)
	e := d.issuer.Escapes(t, "mallory")
	for name, passes := range d.doors {
		for _, a := range append(e.Users, e.Raws...) {
			if !passes(t, a) {
				t.Fatalf("%s: %s is refused before it was revoked", name, a.Name)
			}
		}
	}
	d.Revoke(t, d.realm.UserTarget(e.User))
	for _, a := range e.Raws {
		d.RevokeToken(t, a.Token)
	}
	for name, passes := range d.doors {
		t.Run(name, func(t *testing.T) {
			for _, a := range append(e.Users[:1:1], e.Raws...) {
				bustest.Eventually(t, a.Name+" is refused", func() bool { return !passes(t, a) })
			}
			for _, a := range append(e.Users[1:], e.Tokens...) {
				if passes(t, a) {
					t.Errorf("%s passes", a.Name)
				}
			}
		})
	}
}
