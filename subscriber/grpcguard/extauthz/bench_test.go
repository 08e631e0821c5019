package extauthz_test

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/grpcguard/extauthz"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// BenchmarkCheck is the cost of one call without gRPC, and of encoding its answer.
func BenchmarkCheck(b *testing.B) {
	f := guardtest.Start(b)
	side, err := sidecar.New(sidecar.Config{Agent: f.Fresh(b), Realms: f.Realms})
	if err != nil {
		b.Fatal(err)
	}
	s := extauthz.New(side, nil)
	h := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + f.Token(b, realm.TokenRequest{User: "ann", Alg: "RS256"}))}}}
	for _, name := range []string{":authority", ":path", ":method", ":scheme", "user-agent", "accept", "x-forwarded-proto", "x-request-id"} {
		h.Headers = append(h.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte("something")})
	}
	asked := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", HeaderMap: h}}}}
	b.Run("decide", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if answer, err := s.Check(b.Context(), asked); err != nil || answer.Status.Code != 0 {
				b.Fatal(answer, err)
			}
		}
	})
	answer, err := s.Check(b.Context(), asked)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := proto.Marshal(answer); err != nil {
				b.Fatal(err)
			}
		}
	})
}
