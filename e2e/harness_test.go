package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the rescind that the tests run.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rescind-e2e-")
	if err == nil {
		binary = filepath.Join(dir, "rescind")
		cmd := exec.Command("go", "build", "-o", binary, "./cmd/rescind")
		cmd.Dir = ".."
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building rescind:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// process is a running program, rescind most of the time.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	args []string // with the program's name
	done chan struct{}

	mu  sync.Mutex
	out []string
}

// start runs rescind and stops it when the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startProgram(t, binary, args...)
}

// startProgram runs a program and stops it when the test ends.
func startProgram(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: append([]string{filepath.Base(name)}, args...), done: make(chan struct{})}
	p.cmd = exec.Command(name, args...)
	p.cmd.Env = environment()
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout) })
	readers.Go(func() { p.read(stderr) })
	go func() {
		readers.Wait()
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s:\n%s", p, p.output())
		}
	})
	return p
}

// environment is that of the test without rescind's own variables.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "RESCIND_") {
			env = append(env, v)
		}
	}
	return env
}

func (p *process) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.mu.Lock()
		p.out = append(p.out, lines.Text())
		p.mu.Unlock()
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.out, "\n")
}

// find waits until the output matches and gives the first submatch.
func (p *process) find(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	var found string
	eventually(p.t, 30*time.Second, fmt.Sprintf("output of %s has %s", p, pattern), func() bool {
		select {
		case <-p.done:
			p.t.Fatalf("%s ended:\n%s", p, p.output())
		default:
		}
		m := re.FindStringSubmatch(p.output())
		if m != nil {
			found = m[1]
		}
		return m != nil
	})
	return found
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

func (p *process) String() string { return strings.Join(p.args, " ") }

// kill ends the process as a crash does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.t.Errorf("%s did not stop", p)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// rescind runs a command to its end and gives its standard output.
func rescind(t *testing.T, args ...string) string {
	t.Helper()
	out, code := rescindCode(t, args...)
	if code != 0 {
		t.Fatalf("rescind %s exited with %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

func rescindCode(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = environment()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	if err != nil {
		return out.String() + errs.String(), ee.ExitCode()
	}
	return strings.TrimSpace(out.String()), 0
}

func eventually(t *testing.T, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > within {
			t.Fatalf("waited %s in vain: %s", within, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

// fleet is a publisher, NATS and agents as processes of their own.
type fleet struct {
	t        *testing.T
	dir      string
	nats     *process
	natsURL  string
	pub      *process
	pubURL   string
	pubFlags []string // beside those that every publisher here has
	noDev    bool     // no development realms
	adminKey string
	agents   map[string]*agent
}

type agent struct {
	*process
	name, dir, url string
}

func (f *fleet) path(name ...string) string {
	return filepath.Join(append([]string{f.dir}, name...)...)
}

// startFleet starts NATS, a publisher and agents.
func startFleet(t *testing.T, agents ...string) *fleet {
	t.Helper()
	f := newFleet(t)
	f.start(agents...)
	return f
}

// newFleet makes a fleet's directory and keys.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir(), agents: map[string]*agent{}}
	rescind(t, "keys", "new", "--dir", f.dir, "--id", "p1")
	f.adminKey = "e2e-admin-key-0123456789"
	if err := os.WriteFile(f.path("admin.key"), []byte(f.adminKey), 0o600); err != nil {
		t.Fatal(err)
	}
	f.configure("{}\n")
	return f
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// configure writes the rescind.yaml of publisher and agents.
func (f *fleet) configure(yaml string) {
	f.t.Helper()
	if err := os.WriteFile(f.path("rescind.yaml"), []byte(yaml), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) start(agents ...string) {
	f.t.Helper()
	f.nats = start(f.t, "nats", "--dir", f.dir, "--nats-listen", "127.0.0.1:0")
	f.natsURL = f.nats.find(`is up at (nats://[^,\s]+)`)
	rescind(f.t, "streams", "apply", "--nats", f.natsURL)
	f.startPublisher()
	for _, name := range agents {
		f.startAgent(name)
	}
	f.ready(len(agents))
}

func (f *fleet) startPublisher() {
	f.t.Helper()
	listen := "127.0.0.1:0"
	if f.pubURL != "" {
		listen = strings.TrimPrefix(f.pubURL, "http://")
	}
	args := append([]string{"publisher", "--config", f.path("rescind.yaml"), "--dir", f.dir, "--nats", f.natsURL, "--listen", listen}, f.dev()...)
	f.pub = start(f.t, append(args, f.pubFlags...)...)
	f.pubURL = f.pub.find(`is up at (http://\S+)`)
}

func (f *fleet) dev() []string {
	if f.noDev {
		return nil
	}
	return []string{"--dev"}
}

// startNATS starts NATS again, on the same port and data.
func (f *fleet) startNATS() {
	f.t.Helper()
	f.nats = start(f.t, "nats", "--dir", f.dir, "--nats-listen", strings.TrimPrefix(f.natsURL, "nats://"))
	f.nats.find(`is up at (nats://[^,\s]+)`)
}

// startAgent starts an agent, again on the same directory and port if it was
// there before. The development realms live in the fleet's directory.
func (f *fleet) startAgent(name string) *agent {
	f.t.Helper()
	a := f.agents[name]
	listen := "127.0.0.1:0"
	if a == nil {
		a = &agent{name: name, dir: f.path("agents", name)}
		if err := os.MkdirAll(a.dir, 0o700); err != nil {
			f.t.Fatal(err)
		}
		if err := os.Symlink(f.path("realms"), filepath.Join(a.dir, "realms")); err != nil {
			f.t.Fatal(err)
		}
		f.agents[name] = a
	} else {
		listen = strings.TrimPrefix(a.url, "http://")
	}
	a.process = start(f.t, append([]string{"agent", "--config", f.path("rescind.yaml"), "--dir", a.dir, "--nats", f.natsURL, "--agent-listen", listen,
		"--service", "e2e", "--instance", name, "--keys", f.path("publishers.jwks")}, f.dev()...)...)
	a.url = a.find(`is up at (http://\S+)`)
	return a
}

// ready waits until the publisher is ready and knows n fresh agents.
func (f *fleet) ready(n int) {
	f.t.Helper()
	eventually(f.t, 30*time.Second, fmt.Sprintf("%d fresh agents", n), func() bool {
		if status, _ := get(f.t, f.pubURL+"/readyz", ""); status != 200 {
			return false
		}
		fresh := 0
		for _, a := range f.list() {
			if a.State == "fresh" {
				fresh++
			}
		}
		return fresh >= n
	})
}

type agentInfo struct {
	Name, State, Digest string
	Entries             int
	Rejected            map[string]int
}

// list asks the publisher for its agents.
func (f *fleet) list() []agentInfo {
	f.t.Helper()
	status, body := get(f.t, f.pubURL+"/v1/agents", f.adminKey)
	var l struct{ Items []agentInfo }
	if status != 200 {
		return nil
	}
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		f.t.Fatalf("%s: %v", body, err)
	}
	return l.Items
}

func (f *fleet) token(args ...string) string {
	f.t.Helper()
	return rescind(f.t, append([]string{"token", "--dir", f.dir}, args...)...)
}

var client = &http.Client{Timeout: 15 * time.Second}

// get gives the status and the body; 0 when there was no answer.
func get(t *testing.T, url, bearer string) (int, string) {
	t.Helper()
	return request(t, http.MethodGet, url, bearer, "")
}

func request(t *testing.T, method, url, bearer, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// check gives the agent's status for the token.
func (a *agent) check(token string) int {
	a.t.Helper()
	status, _ := get(a.t, a.url+"/check", token)
	return status
}
