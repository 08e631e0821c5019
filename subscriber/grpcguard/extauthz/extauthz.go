package extauthz

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
)

// Server answers Envoy. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	sidecar  *sidecar.Sidecar
	log      *slog.Logger
	passes   map[sidecar.RevocationStatus]*authv3.CheckResponse // never changed
	metadata map[sidecar.RevocationStatus]*structpb.Struct
}

var _ authv3.AuthorizationServer = (*Server)(nil)

// New makes a server that decides by the sidecar. The logger is for what is worth a
// person's attention; nil means none.
func New(s *sidecar.Sidecar, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	out := &Server{sidecar: s, log: log.With("component", "ext_authz"), passes: map[sidecar.RevocationStatus]*authv3.CheckResponse{},
		metadata: map[sidecar.RevocationStatus]*structpb.Struct{}}
	for _, status := range sidecar.RevocationStatuses {
		out.metadata[status] = &structpb.Struct{Fields: map[string]*structpb.Value{"revocation_status": structpb.NewStringValue(string(status))}}
		out.passes[status] = &authv3.CheckResponse{
			// Without a status the request would pass all the same: it is said.
			Status: &rpc.Status{Code: int32(codes.OK)},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
				Headers: []*corev3.HeaderValueOption{header(sidecar.HeaderStatus, string(status))}}},
			DynamicMetadata: out.metadata[status],
		}
	}
	return out
}

// Register registers the server and its health service.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	authv3.RegisterAuthorizationServer(r, s)
	healthpb.RegisterHealthServer(r, health{sidecar: s.sidecar})
}

// Check decides on a request. It never gives an error. What panics is refused: gRPC would
// let it end the process.
func (s *Server) Check(ctx context.Context, r *authv3.CheckRequest) (answer *authv3.CheckResponse, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a check panicked", "panic", p, "stack", string(debug.Stack()))
			answer, err = s.denied(sidecar.Verdict{Refusal: guard.RefusalOf(errPanicked), Status: sidecar.StatusUnknown}), nil
		}
	}()
	asked := r.GetAttributes().GetRequest().GetHttp()
	v := s.sidecar.Decide(ctx, asked.GetMethod(), headers(asked))
	if v.Admitted {
		return s.passes[v.Status], nil
	}
	return s.denied(v), nil
}

// judgedBy are the canonical names of the headers that count.
var judgedBy = map[string]string{"authorization": "Authorization", "origin": "Origin",
	"access-control-request-method": "Access-Control-Request-Method"}

var errPanicked = errors.New("the check panicked")

// headers are those of a request that count. Envoy sends them merged or raw; whatever is
// in either is taken.
func headers(r *authv3.AttributeContext_HttpRequest) http.Header {
	h := http.Header{}
	for key, value := range r.GetHeaders() {
		if canonical, ok := judgedBy[strings.ToLower(key)]; ok {
			h[canonical] = append(h[canonical], value)
		}
	}
	for _, raw := range r.GetHeaderMap().GetHeaders() {
		canonical, ok := judgedBy[strings.ToLower(raw.Key)]
		switch {
		case !ok:
		case len(raw.RawValue) > 0:
			h[canonical] = append(h[canonical], string(raw.RawValue))
		default:
			h[canonical] = append(h[canonical], raw.Value)
		}
	}
	return h
}

func (s *Server) denied(v sidecar.Verdict) *authv3.CheckResponse {
	answer, body := v.Refusal.Answer(s.sidecar.Realm())
	answer.Set(sidecar.HeaderStatus, string(v.Status))
	out := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(v.Refusal.Status)}, Body: string(body)}
	for _, name := range slices.Sorted(maps.Keys(answer)) {
		out.Headers = append(out.Headers, header(name, answer.Get(name)))
	}
	return &authv3.CheckResponse{
		Status:          &rpc.Status{Code: int32(code(v.Refusal.Status)), Message: v.Refusal.Code},
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: out},
		DynamicMetadata: s.metadata[v.Status],
	}
}

// code is never OK, which would let the request pass.
func code(status int) codes.Code {
	switch status {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	default:
		return codes.PermissionDenied
	}
}

// header replaces what a client, or somebody between, has sent under the name. The action
// must be said: without one Envoy appends.
func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
}

// health is the readiness of the agent.
type health struct {
	healthpb.UnimplementedHealthServer
	sidecar *sidecar.Sidecar
}

// Check answers for every service alike: there is one thing to be ready for.
func (h health) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if h.sidecar.Ready() {
		status = healthpb.HealthCheckResponse_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: status}, nil
}
