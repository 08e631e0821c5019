package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestEnvoyIsRefused asks the agent as Envoy does, from a program of its own.
func TestEnvoyIsRefused(t *testing.T) {
	g := newGateway(t, "--max-staleness", "3s")
	envoy := authv3.NewAuthorizationClient(dial(t, g.grpc))
	ask := func(raw string) (code codes.Code, denied *authv3.DeniedHttpResponse) {
		t.Helper()
		answer, err := envoy.Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: http.MethodGet, Path: "/orders", HeaderMap: &corev3.HeaderMap{
				Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + raw)}}}}}}})
		if err != nil {
			return codes.Aborted, nil // what Envoy calls an error, and failure_mode_allow is about
		}
		return codes.Code(answer.GetStatus().GetCode()), answer.GetDeniedResponse()
	}
	raw := g.token("ann")
	if code, _ := ask(raw); code != codes.OK {
		t.Fatalf("a live token: %s", code)
	}
	began := time.Now()
	if status, body := request(t, http.MethodDelete, g.publisher+"/_security/oauth2/token", g.admin, fmt.Sprintf(`{"token":%q}`, raw)); status != 200 {
		t.Fatalf("DELETE: %d %s", status, body)
	}
	var code codes.Code
	var denied *authv3.DeniedHttpResponse
	eventually(t, 5*time.Second, "Envoy is told to refuse", func() bool {
		code, denied = ask(raw)
		return code != codes.OK
	})
	t.Logf("Envoy's client: refused %.1f ms after DELETE was sent", ms(time.Since(began)))
	if code != codes.Unauthenticated || denied.GetStatus().GetCode() != 401 {
		t.Errorf("revoked: %s, %v", code, denied)
	}
	live := g.token("ann")
	g.up.stop()
	eventually(t, 20*time.Second, "Envoy is told to refuse by a stale agent", func() bool {
		code, denied = ask(live)
		return code != codes.OK
	})
	if code != codes.Unavailable || denied.GetStatus().GetCode() != 503 {
		t.Errorf("stale: %s, %v", code, denied)
	}
	g.agentProcess.stop()
	if code, _ := ask(live); code != codes.Aborted {
		t.Errorf("without an agent: %s", code)
	}
}

// TestEnvoyConfigurationIsOne: deploy/envoy is what Envoy's own schema takes, down to the
// filters, and closed where there is no agent.
func TestEnvoyConfigurationIsOne(t *testing.T) {
	for _, file := range []string{"envoy-grpc.yaml", "envoy-http.yaml"} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "deploy", "envoy", file))
			if err != nil {
				t.Fatal(err)
			}
			var doc any
			if err := yaml.Unmarshal(text, &doc); err != nil {
				t.Fatal(err)
			}
			asJSON, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			config := new(bootstrapv3.Bootstrap)
			if err := protojson.Unmarshal(asJSON, config); err != nil {
				t.Fatal(err)
			}
			var filters []*extauthzv3.ExtAuthz
			managers := 0
			everyMessage(t, config, func(m proto.Message) {
				if v, ok := m.(interface{ ValidateAll() error }); ok {
					if err := v.ValidateAll(); err != nil {
						t.Errorf("%s: %v", m.ProtoReflect().Descriptor().FullName(), err)
					}
				}
				switch m := m.(type) {
				case *extauthzv3.ExtAuthz:
					filters = append(filters, m)
				case *hcmv3.HttpConnectionManager:
					managers++
				}
			})
			if len(filters) != 1 || managers != 1 {
				t.Fatalf("%d ext_authz filters, %d connection managers", len(filters), managers)
			}
			f := filters[0]
			if f.FailureModeAllow || f.GetStatusOnError().GetCode() != 503 || f.TransportApiVersion != corev3.ApiVersion_V3 {
				t.Errorf("not closed: %v", f)
			}
		})
	}
}

// everyMessage visits the messages that a message consists of, those in Any as well.
func everyMessage(t *testing.T, m proto.Message, visit func(proto.Message)) {
	t.Helper()
	if packed, ok := m.(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		m = inner
	}
	visit(m)
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				everyMessage(t, v.Message().Interface(), visit)
				return true
			})
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				everyMessage(t, v.List().Get(i).Message().Interface(), visit)
			}
		default:
			everyMessage(t, v.Message().Interface(), visit)
		}
		return true
	})
}
