package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/internal/tokentest"
)

// proxy is a proxy that runs with a file of deploy/, before the service.
type proxy struct {
	name, url string
	// methodHeader is where it tells the agent the method of a request.
	methodHeader string
	// away is what clients get while the agent is not there.
	away int
	*process
}

// site is a service that trusts the proxy before it, with the agent that the proxy asks.
type site struct {
	t       *testing.T
	service *httptest.Server
	agent   string // HOST:PORT
	proxies []*proxy
}

// addressFor finds an address that is free.
func addressFor(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newSite starts the service, and finds an address for the agent.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, agent: addressFor(t)}
	s.service = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			http.Error(w, "the service's own error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Upgraded", r.Header.Get("Upgrade"))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(revocationStatus(r.Header))
	}))
	t.Cleanup(s.service.Close)
	return s
}

var anyMark = regexp.MustCompile(`[^a-z0-9]`)

// revocationStatus is what a service finds under the name, if it takes other spellings for
// the same, as CGI does, and drops what Connection names, as a hop does.
func revocationStatus(h http.Header) (values []string) {
	for _, named := range h["Connection"] {
		for name := range strings.SplitSeq(named, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for name := range h {
		if anyMark.ReplaceAllString(strings.ToLower(name), "-") == "x-revocation-status" {
			values = append(values, h[name]...)
		}
	}
	return values
}

// deployed is a file of deploy/ with the addresses of this test in the place of its own.
func (s *site) deployed(file, listen string, others ...string) (path, address string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", file))
	if err != nil {
		s.t.Fatal(err)
	}
	address = addressFor(s.t)
	_, port, _ := net.SplitHostPort(address)
	for _, r := range append([][2]string{{listen, listen[:strings.LastIndexByte(listen, ':')+1] + port}, {"127.0.0.1:8080", s.service.Listener.Addr().String()},
		{"127.0.0.1:7481", s.agent}}, pairs(others)...) {
		if !strings.Contains(string(text), r[0]) {
			s.t.Fatalf("deploy/%s has no %s", file, r[0])
		}
		text = []byte(strings.ReplaceAll(string(text), r[0], r[1]))
	}
	path = filepath.Join(s.t.TempDir(), filepath.Base(file))
	writeFile(s.t, path, string(text))
	return path, address
}

func pairs(flat []string) (out [][2]string) {
	for i := 0; i < len(flat); i += 2 {
		out = append(out, [2]string{flat[i], flat[i+1]})
	}
	return out
}

// startProxies starts all three, and waits until they answer.
func (s *site) startProxies() {
	s.t.Helper()
	s.proxies = []*proxy{s.nginx(), s.caddy(), s.haproxy()}
	for _, p := range s.proxies {
		eventually(s.t, 20*time.Second, p.name+" answers", func() bool {
			select {
			case <-p.done:
				s.t.Fatalf("%s ended:\n%s", p, p.output())
			default:
			}
			return s.ask(p, http.MethodGet, "/").status != 0
		})
	}
}

func (s *site) nginx() *proxy {
	config, address := s.deployed("nginx/nginx.conf", "127.0.0.1:8000")
	pid := filepath.Join(filepath.Dir(config), "nginx.pid")
	return &proxy{"nginx", "http://" + address, "X-Original-Method", 503,
		startProgram(s.t, "nginx", "-c", config, "-e", "stderr", "-g", "daemon off; pid "+pid+";")}
}

func (s *site) caddy() *proxy {
	config, address := s.deployed("caddy/Caddyfile", "http://:8001")
	return &proxy{"Caddy", "http://" + address, "X-Forwarded-Method", 502,
		startProgram(s.t, "caddy", "run", "--adapter", "caddyfile", "--config", config)}
}

func (s *site) haproxy() *proxy {
	lua, err := filepath.Abs("../deploy/haproxy/rescind.lua")
	if err != nil {
		s.t.Fatal(err)
	}
	config, address := s.deployed("haproxy/haproxy.cfg", "127.0.0.1:8002", "/etc/rescind/rescind.lua", lua)
	return &proxy{"HAProxy", "http://" + address, "X-Original-Method", 503, startProgram(s.t, "haproxy", "-f", config)}
}

// reply is what a client gets.
type reply struct {
	status                int
	challenge, retryAfter string
	body                  string
}

// ask sends a request with headers; a status of 0 is no answer.
func (s *site) ask(p *proxy, method, target string, header ...string) reply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, p.url+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range pairs(header) {
		r.Header.Add(h[0], h[1])
	}
	return s.send(r)
}

func (s *site) send(r *http.Request) reply {
	s.t.Helper()
	res, err := client.Do(r)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	return reply{res.StatusCode, res.Header.Get("WWW-Authenticate"), res.Header.Get("Retry-After"), strings.TrimSpace(string(b))}
}

func (s *site) attempt(p *proxy, a tokentest.Attempt) reply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, p.url+"/orders?"+a.Query, strings.NewReader(a.Form))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
	r.Header["Authorization"] = a.Authorization
	return s.send(r)
}

// gateway is a fleet of "rescind up" and an agent beside the proxies.
type gateway struct {
	*site
	dir, nats, publisher, admin string
	issuer                      *tokentest.Issuer
	up, agentProcess            *process
	agentFlags                  []string
	grpc                        string
}

func newGateway(t *testing.T, agentFlags ...string) *gateway {
	t.Helper()
	g := &gateway{site: newSite(t), dir: t.TempDir(), issuer: tokentest.NewIssuer(t, "https://idp.example.com"), agentFlags: agentFlags, grpc: addressFor(t)}
	g.issuer.WriteJWKS(t, filepath.Join(g.dir, "idp.jwks"))
	writeFile(t, filepath.Join(g.dir, "rescind.yaml"), "realms:\n  shop: {issuers: [https://idp.example.com], jwks: idp.jwks}\n")
	g.up = start(t, "up", "--config", filepath.Join(g.dir, "rescind.yaml"), "--dir", g.dir,
		"--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0")
	g.publisher, g.nats = g.up.find(`publisher +(http://\S+)`), g.up.find(`NATS +(nats://\S+)`)
	key, err := os.ReadFile(filepath.Join(g.dir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	g.admin = strings.TrimSpace(string(key))
	g.startAgent()
	g.startProxies()
	return g
}

func (g *gateway) startAgent() {
	g.t.Helper()
	g.agentProcess = start(g.t, append([]string{"agent", "--config", filepath.Join(g.dir, "rescind.yaml"), "--dir", filepath.Join(g.dir, "gateway"),
		"--nats", g.nats, "--keys", filepath.Join(g.dir, "publishers.jwks"), "--service", "gateway", "--agent-listen", g.agent, "--grpc-listen", g.grpc},
		g.agentFlags...)...)
	g.agentProcess.find(`(is up at)`)
	eventually(g.t, 20*time.Second, "the gateway's agent is fresh", func() bool {
		status, _ := get(g.t, "http://"+g.agent+"/readyz?fresh", "")
		return status == 200
	})
}

func (g *gateway) token(user string) string {
	return g.issuer.Token(g.t, "RS256", g.issuer.Claims(user, nil))
}

// revoke revokes what the JSON says, by the native door, and waits for all agents.
func (g *gateway) revoke(body string) {
	g.t.Helper()
	if status, answer := request(g.t, http.MethodPost, g.publisher+"/v1/revocations?wait=all&timeout=10s", g.admin, body); status != 201 {
		g.t.Fatalf("revoking: %d %s", status, answer)
	}
}

// TestProxiesRefuse: what each proxy of deploy/ does with tokens that are live and
// revoked, without an agent, and with one that knows too little.
func TestProxiesRefuse(t *testing.T) {
	g := newGateway(t, "--max-staleness", "3s")
	for _, p := range g.proxies {
		raw := g.token("ann")
		bearer := []string{"Authorization", "Bearer " + raw, "X-Revocation-Status", "forged",
			"x-revocation-status", "live", "X_Revocation_Status", "forged", "X.Revocation.Status", "forged",
			"X-Revocation_Status", "forged", "X~Revocation~Status", "forged"}
		g.awaitLive(p, bearer)
		if got := g.ask(p, http.MethodGet, "/broken", bearer...); got.status != 500 || got.body != "the service's own error" {
			t.Errorf("%s, the service's own error: %+v", p.name, got)
		}
		if got := g.ask(p, http.MethodGet, "/"); got.status != 401 || got.challenge != `Bearer realm="rescind"` {
			t.Errorf("%s, no token: %+v", p.name, got)
		}
		g.noTunnel(p, bearer)
		// To name it in Connection takes it away on no hop: the request may be refused.
		got := g.ask(p, http.MethodGet, "/", append(bearer, "Connection", "X-Revocation-Status")...)
		if got.status != 400 && (got.status != 200 || got.body != `["live"]`) {
			t.Errorf("%s, named in Connection: %+v", p.name, got)
		}
		long := g.issuer.Token(t, "RS256", g.issuer.Claims("ann", map[string]any{"x": strings.Repeat("x", 11<<10)}))
		if got := g.ask(p, http.MethodGet, "/", "Authorization", "Bearer "+long); got.status != 200 {
			t.Errorf("%s, a token of %d bytes: %d", p.name, len(long), got.status)
		}
		began := time.Now()
		if status, body := request(t, http.MethodDelete, g.publisher+"/_security/oauth2/token", g.admin, fmt.Sprintf(`{"token":%q}`, raw)); status != 200 {
			t.Fatalf("DELETE: %d %s", status, body)
		}
		answered := time.Since(began)
		eventually(t, 5*time.Second, p.name+" refuses", func() bool {
			got = g.ask(p, http.MethodGet, "/", bearer...)
			return got.status != 200
		})
		refused := time.Since(began)
		if got.status != 401 || got.challenge != `Bearer realm="rescind", error="invalid_token", error_description="revoked"` {
			t.Errorf("%s, revoked: %+v", p.name, got)
		}
		t.Logf("%s: refused %.1f ms after DELETE was sent, %.1f ms after it was answered", p.name, ms(refused), ms(refused-answered))
	}
	bearer := []string{"Authorization", "Bearer " + g.token("ann")}
	g.agentProcess.stop()
	for _, p := range g.proxies {
		if got := g.ask(p, http.MethodGet, "/", bearer...); got.status != p.away {
			t.Errorf("%s, without an agent: %+v, want %d", p.name, got, p.away)
		} else {
			t.Logf("%s: %d without an agent", p.name, got.status)
		}
	}
	g.startAgent()
	for _, p := range g.proxies {
		g.awaitLive(p, bearer)
	}
	g.agentProcess.signal(syscall.SIGSTOP)
	for _, p := range g.proxies {
		if got := g.ask(p, http.MethodGet, "/", bearer...); got.status < 500 {
			t.Errorf("%s, with an agent that hangs: %+v", p.name, got)
		}
	}
	g.agentProcess.signal(syscall.SIGCONT)
	for _, p := range g.proxies {
		g.awaitLive(p, bearer)
	}
	g.up.stop() // and with it NATS: the agent hears no more
	for _, p := range g.proxies {
		var got reply
		eventually(t, 20*time.Second, p.name+" refuses by a stale agent", func() bool {
			got = g.ask(p, http.MethodGet, "/", bearer...)
			return got.status != 200
		})
		if got.status != 503 || got.retryAfter != "1" {
			t.Errorf("%s, stale: %+v", p.name, got)
		} else {
			t.Logf("%s: %d by an agent that is stale", p.name, got.status)
		}
	}
}

// noTunnel: no service is asked to speak h2c, by which requests would pass unjudged.
func (g *gateway) noTunnel(p *proxy, header []string) {
	g.t.Helper()
	for _, upgrade := range []string{"h2c", "H2C", "websocket, h2c"} {
		r, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, p.url+"/", nil)
		if err != nil {
			g.t.Fatal(err)
		}
		for _, h := range append(pairs(header), [2]string{"Connection", "Upgrade, HTTP2-Settings"}, [2]string{"Upgrade", upgrade}, [2]string{"HTTP2-Settings", "AAMAAABkAAQAAP__"}) {
			r.Header.Add(h[0], h[1])
		}
		res, err := client.Do(r)
		if err != nil {
			g.t.Fatal(err)
		}
		res.Body.Close()
		if saw := res.Header.Get("Upgraded"); res.StatusCode != 200 && res.StatusCode != 400 || saw != "" {
			g.t.Errorf("%s, Upgrade: %s: %d, the service sees %q", p.name, upgrade, res.StatusCode, saw)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// awaitLive waits until the proxy lets a good token pass, and sees that the service is
// told the agent's word and no other.
func (g *gateway) awaitLive(p *proxy, header []string) {
	g.t.Helper()
	var got reply
	eventually(g.t, 10*time.Second, p.name+" lets a good token pass", func() bool {
		got = g.ask(p, http.MethodGet, "/orders", header...)
		return got.status == 200
	})
	if got.body != `["live"]` && got.body != `["stale"]` {
		g.t.Errorf("%s: the service is told %s", p.name, got.body)
	}
}

func TestProxiesLetNothingSlipBy(t *testing.T) {
	g := newGateway(t)
	e := g.issuer.Escapes(t, "mallory")
	for _, p := range g.proxies {
		for _, a := range append(e.Users, e.Raws...) {
			if got := g.attempt(p, a); got.status != 200 {
				t.Fatalf("%s: %s is refused before it was revoked: %+v", p.name, a.Name, got)
			}
		}
	}
	g.revoke(`{"user":"mallory","realm":"shop"}`)
	for _, a := range e.Raws {
		g.revoke(fmt.Sprintf(`{"token":%q}`, a.Token))
	}
	never := g.issuer.Never(t)
	for _, p := range g.proxies {
		passed := 0
		for _, a := range append(append(append(never, e.Users...), e.Raws...), e.Tokens...) {
			if got := g.attempt(p, a); got.status < 400 {
				t.Errorf("%s: %s: %+v", p.name, a.Name, got)
				passed++
			} else if got.status >= 500 {
				t.Errorf("%s: %s is an error: %+v", p.name, a.Name, got)
			}
		}
		t.Logf("%s: %d of %d attempts passed", p.name, passed, len(never)+len(e.Users)+len(e.Raws)+len(e.Tokens))
	}
}

// An error in the Lua of HAProxy, after which HAProxy goes on by itself, lets nothing pass.
func TestHAProxyIsClosedWhenItsLuaFails(t *testing.T) {
	s := newSite(t)
	lua := filepath.Join(t.TempDir(), "broken.lua")
	writeFile(t, lua, `core.register_action("rescind", { "http-req" }, function(txn, url) error("broken") end, 1)`)
	config, address := s.deployed("haproxy/haproxy.cfg", "127.0.0.1:8002", "/etc/rescind/rescind.lua", lua)
	p := &proxy{name: "HAProxy", url: "http://" + address, process: startProgram(t, "haproxy", "-f", config)}
	var got reply
	eventually(t, 20*time.Second, "HAProxy answers", func() bool {
		got = s.ask(p, http.MethodGet, "/")
		return got.status != 0
	})
	if got.status != 503 {
		t.Errorf("got %+v", got)
	}
}

func TestProxiesLetPreflightPassWhereAllowed(t *testing.T) {
	for _, header := range []string{"", "X-Original-Method", "X-Forwarded-Method"} {
		var flags []string
		if header != "" {
			flags = []string{"--preflight-from", header}
		}
		g := newGateway(t, flags...)
		for _, p := range g.proxies {
			browser := []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "PUT"}
			want := 401
			if header == p.methodHeader {
				want = 200
			}
			if got := g.ask(p, http.MethodOptions, "/", browser...); got.status != want {
				t.Errorf("%s, --preflight-from %q: %+v, want %d", p.name, header, got, want)
			}
			// Whatever the client says of its method: only the proxy is believed, even by an
			// agent that is meant for another kind of proxy.
			forged := append(browser, "X-Original-Method", http.MethodOptions, "X-Forwarded-Method", http.MethodOptions)
			if got := g.ask(p, http.MethodPut, "/", forged...); got.status != 401 {
				t.Errorf("%s, --preflight-from %q, forged: %+v", p.name, header, got)
			}
		}
	}
}
