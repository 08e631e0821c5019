package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/golang-jwt/jwt/v5"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/rescind/rescind/subscriber/grpcguard/extauthz"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
)

// noAuthRequest is nginx that asks nobody.
const noAuthRequest = "no_auth_request"

// waysOut measures each way to refuse beside the same path with the check taken out.
func waysOut(ctx context.Context, c *Config) (rows []Row, err error) {
	var at map[string]string
	d, err := deployAsked(ctx, c, "ways-out", &at)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	proxies, err := startNginx(ctx, d.dir, at)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, proxies.Close()) }()
	tcp, err := newWrk(d.dir, d.tokens)
	if err != nil {
		return nil, err
	}
	tcp.seconds = pick(c, 2, 1, 1)
	envoy := &envoyLoad{tokens: d.tokens, lasts: pick(c, time.Second, 250*time.Millisecond, 50*time.Millisecond)}
	for _, w := range []struct {
		kase   string
		beside []string
		run    func(ctx context.Context, what string, connections int) (load, error)
	}{
		{"middleware, revocation-only", nil, func(ctx context.Context, what string, n int) (load, error) {
			return tcp.run(ctx, at["service "+what], n)
		}},
		{"middleware, verifying", nil, func(ctx context.Context, what string, n int) (load, error) {
			return tcp.run(ctx, at["verifying "+what], n)
		}},
		{"nginx, auth_request", []string{noAuthRequest}, func(ctx context.Context, what string, n int) (load, error) {
			return tcp.run(ctx, proxies.at[what], n)
		}},
		{"ext_authz, gRPC", nil, func(ctx context.Context, what string, n int) (load, error) {
			return envoy.run(ctx, at["envoy "+what], n)
		}},
	} {
		for _, connections := range pick(c, []int{1, 16, 64}, []int{16}, []int{2}) {
			s := sampler{row: "ways_out", rounds: pick(c, 4, 2, 1), connections: connections, beside: w.beside, must: AtLeast, target: sidecarTarget}
			if strings.HasPrefix(w.kase, "ext_authz") {
				s.rounds = pick(c, 8, 6, 1) // of a shorter run
			}
			if strings.HasPrefix(w.kase, "middleware") {
				s.must, s.target = Unbound, 0 // what reading a token costs, every time
			}
			row, err := s.measure(ctx, w.kase, func(ctx context.Context, what string) (load, error) { return w.run(ctx, what, connections) })
			if err != nil {
				return rows, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// nginxes are proxies before the service: one asks the sidecar, one what checks nothing,
// one asks nobody.
type nginxes struct {
	at        map[string]string
	processes []*process
}

func (n *nginxes) Close() (err error) {
	for _, p := range n.processes {
		err = errors.Join(err, p.Close())
	}
	return err
}

// startNginx starts them by the file that deploy/ has for nginx.
func startNginx(ctx context.Context, dir string, at map[string]string) (n *nginxes, err error) {
	n = &nginxes{at: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	source, err := moduleDir(ctx)
	if err != nil {
		return n, err
	}
	deployed, err := os.ReadFile(filepath.Join(source, "deploy", "nginx", "nginx.conf"))
	if err != nil {
		return n, err
	}
	for what, agent := range map[string]string{"check": at["sidecar"], noCheck: at["nothing"], noAuthRequest: at["nothing"]} {
		if n.at[what], err = freeAddress(); err != nil {
			return n, err
		}
		text := strings.NewReplacer("127.0.0.1:8000", n.at[what], "127.0.0.1:8080", at["service "+noCheck], "127.0.0.1:7481", agent).Replace(string(deployed))
		if what == noAuthRequest {
			text = strings.Replace(text, "auth_request /_rescind;", "", 1)
		}
		config := filepath.Join(dir, what+".conf")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return n, err
		}
		// A single process: it ends with the bench, whatever happens.
		p, err := startProcess(ctx, "nginx", "-c", config, "-e", "stderr", "-g", "daemon off; master_process off; pid "+config+".pid;")
		if err != nil {
			return n, err
		}
		n.processes = append(n.processes, p)
		err = await(ctx, 10*time.Second, "nginx", func() bool {
			conn, err := net.Dial("tcp", n.at[what])
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// envoyLoad asks over gRPC as an Envoy of two workers does: on two connections.
type envoyLoad struct {
	tokens []string
	lasts  time.Duration
}

func (e *envoyLoad) run(ctx context.Context, address string, concurrent int) (load, error) {
	requests := make([]*authv3.CheckRequest, len(e.tokens))
	for i, token := range e.tokens {
		requests[i] = &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: http.MethodGet, Path: "/orders", Host: "orders", HeaderMap: &corev3.HeaderMap{
				Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + token)}}}}}}}
	}
	var clients []authv3.AuthorizationClient
	for range 2 {
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return load{}, err
		}
		defer conn.Close()
		clients = append(clients, authv3.NewAuthorizationClient(conn))
	}
	took, failed := make([][]time.Duration, concurrent), make([]int, concurrent)
	begun := time.Now()
	var all sync.WaitGroup
	for i := range concurrent {
		all.Go(func() {
			for at := i * len(requests) / concurrent; time.Since(begun) < e.lasts && ctx.Err() == nil; at++ {
				sent := time.Now()
				answer, err := clients[i%len(clients)].Check(ctx, requests[at%len(requests)])
				if err != nil || answer.GetStatus().GetCode() != int32(codes.OK) {
					failed[i]++
				}
				took[i] = append(took[i], time.Since(sent))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(begun)
	times := slices.Concat(took...)
	if len(times) == 0 {
		return load{}, fmt.Errorf("load over gRPC: no answers: %w", context.Cause(ctx))
	}
	slices.Sort(times)
	sum := 0
	for _, n := range failed {
		sum += n
	}
	return load{perSecond: float64(len(times)) / elapsed.Seconds(), p99: times[len(times)*99/100], failed: sum}, nil
}

// waysOutChild serves each way out, and the same without the check.
func waysOutChild(ctx context.Context, args []string) error {
	url, keys, realmsDir, dir := args[0], args[1], args[2], args[3]
	a, err := openStanding(ctx, url, keys, realmsDir, dir)
	if err != nil {
		return err
	}
	defer a.Close()
	side, err := sidecar.New(sidecar.Config{Agent: a.agent, Realms: a.realms})
	if err != nil {
		return err
	}
	verify := func(ctx context.Context, raw string) (jwt.MapClaims, error) {
		v, err := a.realms.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		return v.Claims, nil
	}
	service := http.HandlerFunc(serveOrders)
	verified := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, err := verify(r.Context(), raw); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		serveOrders(w, r)
	})
	at := map[string]string{}
	for name, h := range map[string]http.Handler{
		"service check": guard.Middleware(a.agent, nil, guard.RevocationOnly())(service), "service " + noCheck: service,
		"verifying check": guard.Middleware(a.agent, verify)(service), "verifying " + noCheck: verified,
		"sidecar": side, "nothing": http.HandlerFunc(answer),
	} {
		addresses, err := listen(h, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")))
		if err != nil {
			return err
		}
		at[name] = addresses.TCP
	}
	for name, serve := range map[string]func(net.Listener) error{
		"envoy check": func(l net.Listener) error { return extauthz.New(side, nil).Serve(ctx, l, nil) },
		"envoy " + noCheck: func(l net.Listener) error {
			srv := grpc.NewServer()
			authv3.RegisterAuthorizationServer(srv, unchecked{})
			return srv.Serve(l)
		},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		at[name] = l.Addr().String()
		go serve(l) // until the process ends
	}
	if err := tell(at); err != nil {
		return err
	}
	return stay()
}

// serveOrders is a service that does little.
func serveOrders(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"orders":[{"id":1,"item":"a"},{"id":2,"item":"b"}]}`))
}

// unchecked is ext_authz without the check.
type unchecked struct {
	authv3.UnimplementedAuthorizationServer
}

// passes is what the agent answers, too.
var passes = &authv3.CheckResponse{Status: &rpc.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
	Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: sidecar.HeaderStatus, Value: "live"}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}}}},
	DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{"revocation_status": structpb.NewStringValue("live")}}}

func (unchecked) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return passes, nil
}
