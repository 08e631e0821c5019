package sidecar_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// nothing answers as a good /check does, at once.
func nothing(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Rescind-Mode", "verifying")
	h.Set("X-Revocation-Status", "live")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// tokens is how many good tokens are shown in turn, as those of many users are.
const tokens = 1024

// handlers are /check in its modes beside a handler that checks nothing, and good
// tokens.
func handlers(b *testing.B) (map[string]http.Handler, []string) {
	f := guardtest.Start(b)
	agent := f.Fresh(b)
	all := map[string]http.Handler{"nothing": http.HandlerFunc(nothing)}
	for name, c := range map[string]sidecar.Config{
		"revocation-only":      {Agent: agent},
		"revocation-only-anew": {Agent: agent, CacheTokens: -1},
		"verifying":            {Agent: agent, Realms: f.Realms},
		"verifying-anew":       {Agent: agent, Realms: f.Realms, CacheTokens: -1},
	} {
		h, err := sidecar.New(c)
		if err != nil {
			b.Fatal(err)
		}
		all[name] = h
	}
	raw := make([]string, tokens)
	for i := range raw {
		raw[i] = f.Token(b, realm.TokenRequest{User: fmt.Sprintf("person-%08d", i), Session: fmt.Sprint("s", i), Client: "web",
			Scope: "openid profile", Alg: []string{"RS256", "ES256"}[i%2]})
	}
	return all, raw
}

// unwritten is a ResponseWriter that sends nothing.
type unwritten struct {
	header http.Header
	status int
}

func (u *unwritten) Header() http.Header         { return u.header }
func (u *unwritten) WriteHeader(status int)      { u.status = status }
func (u *unwritten) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkCheck is what /check costs without the HTTP server around it.
func BenchmarkCheck(b *testing.B) {
	all, raw := handlers(b)
	authorizations := make([][]string, tokens)
	for i := range raw {
		authorizations[i] = []string{"Bearer " + raw[i]}
	}
	for name, h := range all {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/check", nil)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.Header["Authorization"] = authorizations[i%tokens]
				w := unwritten{header: http.Header{}}
				if h.ServeHTTP(&w, r); w.status != http.StatusOK {
					b.Fatalf("status %d", w.status)
				}
			}
		})
	}
}

// BenchmarkServed is /check over connections that are kept open, 16 at a time,
// from request to answer: by TCP on loopback and by unix socket.
func BenchmarkServed(b *testing.B) {
	all, raw := handlers(b)
	requests := make([][]byte, tokens)
	for i := range raw {
		requests[i] = []byte("GET /check HTTP/1.1\r\nHost: agent\r\nAuthorization: Bearer " + raw[i] + "\r\n\r\n")
	}
	for _, network := range []string{"tcp", "unix"} {
		for name, h := range all {
			b.Run(network+"/"+name, func(b *testing.B) {
				l := listen(b, network)
				srv := &http.Server{Handler: h}
				var serving sync.WaitGroup
				serving.Go(func() { _ = srv.Serve(l) })
				defer serving.Wait()
				defer srv.Close()
				exchange(b, l.Addr(), requests)
			})
		}
	}
}

func listen(b *testing.B, network string) net.Listener {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(b.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// exchange sends b.N requests and waits for their answers.
func exchange(b *testing.B, at net.Addr, requests [][]byte) {
	const connections = 16
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, connections)
	var clients sync.WaitGroup
	for i := range connections {
		conn, err := net.Dial(at.Network(), at.String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		clients.Go(func() {
			in := bufio.NewReader(conn)
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				begun := time.Now()
				if err := ask(conn, in, requests[n%tokens]); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(begun))
			}
		})
	}
	clients.Wait()
	if all := slices.Sorted(slices.Values(slices.Concat(took...))); len(all) > 0 {
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	}
}

// ask reads an answer of 200 without a body.
func ask(conn net.Conn, in *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
			return fmt.Errorf("answer: %s", line)
		case len(line) == len("\r\n"):
			return nil
		}
	}
}
