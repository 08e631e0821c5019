package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
)

const (
	sidecarTarget  = 0.9
	sidecarEntries = 100_000
	// sidecarTokens are shown in turn, half of them signed by RSA, half by ECDSA.
	sidecarTokens = 1024
	noCheck       = "no_check"
)

var sidecarModes = []string{"revocation-only", "verifying"}

// addresses are where a server listens: host:port, and the path of a socket.
type addresses struct{ TCP, Unix string }

// sidecars measures /check beside the same server without the check.
func sidecars(ctx context.Context, c *Config) (rows []Row, err error) {
	var at map[string]addresses
	d, err := deployAsked(ctx, c, "server", &at)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	tcp, err := newWrk(d.dir, d.tokens)
	if err != nil {
		return nil, err
	}
	tcp.seconds = pick(c, 3, 1, 1)
	unix := &unixLoad{tokens: d.tokens, lasts: pick(c, time.Second, 125*time.Millisecond, 50*time.Millisecond)}
	for _, to := range at {
		if _, err := unix.run(ctx, to.Unix, 8); err != nil { // it warms up
			return nil, err
		}
	}
	for _, mode := range sidecarModes {
		for _, connections := range pick(c, []int{1, 16, 64}, []int{1, 16, 64}, []int{2}) {
			s := sampler{row: "sidecar", rounds: pick(c, 6, 4, 1), connections: connections, must: AtLeast, target: sidecarTarget}
			row, err := s.measure(ctx, mode+", tcp", func(ctx context.Context, what string) (load, error) {
				return tcp.run(ctx, at[orNoCheck(what, mode)].TCP, connections)
			})
			if err != nil {
				return rows, err
			}
			rows = append(rows, row)
			s.rounds = pick(c, 12, 16, 1) // of a shorter run
			row, err = s.measure(ctx, mode+", unix socket", func(ctx context.Context, what string) (load, error) {
				return unix.run(ctx, at[orNoCheck(what, mode)].Unix, connections)
			})
			if err != nil {
				return rows, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// asked is a deployment with a child that answers for tokens.
type asked struct {
	*deployment
	server *process
	tokens []string
}

// deployAsked starts them, and reads into at where the child listens.
func deployAsked(ctx context.Context, c *Config, child string, at any) (a *asked, err error) {
	d, err := deploy(ctx, c)
	if err != nil {
		return nil, err
	}
	a = &asked{deployment: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.tokens, err = d.signed(sidecarTokens); err != nil {
		return nil, err
	}
	dir, err := d.agentDir(c, stock{identities: pick(c, sidecarEntries, sidecarEntries, 1000), perEvent: perEvent})
	if err != nil {
		return nil, err
	}
	if a.server, err = startChild(ctx, child, d.url, d.keys(), d.dir, dir); err != nil {
		return nil, err
	}
	return a, a.server.hear(at)
}

func (a *asked) Close() error {
	if a.server == nil {
		return a.deployment.Close()
	}
	return errors.Join(a.server.Close(), a.deployment.Close())
}

func orNoCheck(what, mode string) string {
	if what == noCheck {
		return noCheck
	}
	return mode
}

// load is what one run of requests gave.
type load struct {
	perSecond float64
	p99       time.Duration
	failed    int
}

// sampler runs the load against the same servers in turn, as often the one first as the
// other: with the check, without it, and those that stand beside.
type sampler struct {
	row                 string
	rounds, connections int
	beside              []string
	must                Must
	target              float64
}

func (s *sampler) measure(ctx context.Context, kase string, run func(ctx context.Context, what string) (load, error)) (Row, error) {
	samples := map[string][]load{}
	var ratios []float64
	whats := append([]string{"check", noCheck}, s.beside...)
	for round := range s.rounds {
		of := make([]load, len(whats))
		for i := range of {
			i = (i + round) % len(of)
			what := whats[i]
			l, err := run(ctx, what)
			if err == nil && l.failed > 0 {
				err = fmt.Errorf("%d requests were not answered with 200", l.failed)
			}
			if err != nil {
				return Row{}, fmt.Errorf("%s, %d connections, %s: %w", kase, s.connections, what, err)
			}
			of[i] = l
			samples[what] = append(samples[what], l)
		}
		ratios = append(ratios, of[0].perSecond/of[1].perSecond)
	}
	rate := func(l load) float64 { return l.perSecond }
	p99 := func(l load) float64 { return float64(l.p99.Microseconds()) }
	row := Row{Row: s.row, Case: kase, N: s.connections, Unit: "req/s", Rescind: medianOf(samples["check"], rate),
		Limit: medianOf(samples[noCheck], rate), LimitName: noCheck, Ratio: median(ratios), Of: noCheck, Must: s.must, Target: s.target,
		Detail: map[string]float64{"p99_us": medianOf(samples["check"], p99), "p99_us_no_check": medianOf(samples[noCheck], p99)}}
	for _, what := range s.beside {
		if row.Peers == nil {
			row.Peers = map[string]float64{}
		}
		row.Peers[what], row.Detail["p99_us_"+what] = medianOf(samples[what], rate), medianOf(samples[what], p99)
	}
	return row, nil
}

// signed are tokens of the deployment's development realm.
func (d *deployment) signed(n int) ([]string, error) {
	dev, err := realm.OpenDev(d.dir)
	if err != nil {
		return nil, err
	}
	out := make([]string, n)
	for i := range out {
		alg := []string{"RS256", "ES256"}[i%2]
		out[i], err = dev.Issue(realm.TokenRequest{User: fmt.Sprintf("person-%08d", i), Session: fmt.Sprint("s", i),
			Client: "web", Scope: "openid profile", Alg: alg})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// serverChild serves /check in both modes, and a handler that only answers.
func serverChild(ctx context.Context, args []string) error {
	url, keys, realmsDir, dir := args[0], args[1], args[2], args[3]
	a, err := openStanding(ctx, url, keys, realmsDir, dir)
	if err != nil {
		return err
	}
	defer a.Close()
	revocationOnly, err := sidecar.New(sidecar.Config{Agent: a.agent})
	if err != nil {
		return err
	}
	verifying, err := sidecar.New(sidecar.Config{Agent: a.agent, Realms: a.realms})
	if err != nil {
		return err
	}
	at := map[string]addresses{}
	for name, h := range map[string]http.Handler{sidecarModes[0]: revocationOnly, sidecarModes[1]: verifying, noCheck: http.HandlerFunc(answer)} {
		if at[name], err = listen(h, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := tell(at); err != nil {
		return err
	}
	return stay()
}

// standing is an agent that is synced, and the realms of a deployment.
type standing struct {
	agent  *subscriber.Agent
	realms *realm.Realms
	close  []func()
}

func openStanding(ctx context.Context, url, keys, realmsDir, dir string) (s *standing, err error) {
	s = &standing{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return s, err
	}
	s.close = append(s.close, nc.Close)
	s.agent, err = subscriber.Open(ctx, nc, subscriber.Config{Service: "bench", Dir: dir, Keys: subscriber.KeysFile(keys)})
	if err != nil {
		return s, err
	}
	s.close = append(s.close, func() { _ = s.agent.Close() }) // the process ends
	<-s.agent.Synced()
	dev, err := realm.OpenDev(realmsDir)
	if err != nil {
		return s, err
	}
	if s.realms, err = realm.New(dev.Configs(), realm.Options{}); err != nil {
		return s, err
	}
	s.close = append(s.close, s.realms.Close)
	return s, nil
}

func (s *standing) Close() {
	for _, f := range slices.Backward(s.close) {
		f()
	}
}

// answer is /check without the check.
func answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Rescind-Mode", "revocation-only")
	w.Header().Set("X-Revocation-Status", "live")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// listen serves as "rescind agent" does, on TCP and on a socket, until the
// process ends.
func listen(h http.Handler, socket string) (addresses, error) {
	var at addresses
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": socket} {
		l, err := net.Listen(network, address)
		if err != nil {
			return at, err
		}
		srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
			IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
		go srv.Serve(l)
		if network == "tcp" {
			at.TCP = l.Addr().String()
		} else {
			at.Unix = socket
		}
	}
	return at, nil
}
