package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wrkScript shows each token in turn and prints one JSON object at the end.
const wrkScript = `
local requests, i = {}, 0
function init(args)
  for token in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", "/check", { ["Authorization"] = "Bearer " .. token })
  end
end
function request()
  i = i % #requests + 1
  return requests[i]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"p99":%d,"failed":%d}\n', summary.requests, summary.duration,
    latency:percentile(99), e.status + e.connect + e.read + e.write + e.timeout))
end
`

// wrk is Debian's load generator, over TCP.
type wrk struct {
	script, tokens string
	seconds        int
}

func newWrk(dir string, tokens []string) (*wrk, error) {
	w := &wrk{script: filepath.Join(dir, "check.lua"), tokens: filepath.Join(dir, "tokens")}
	return w, errors.Join(os.WriteFile(w.script, []byte(wrkScript), 0o600),
		os.WriteFile(w.tokens, []byte(strings.Join(tokens, "\n")+"\n"), 0o600))
}

func (w *wrk) run(ctx context.Context, address string, connections int) (load, error) {
	cmd := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(connections), fmt.Sprintf("-d%ds", w.seconds), "-s", w.script,
		"http://"+address, "--", w.tokens)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	var got struct{ Requests, US, P99, Failed int }
	if err := json.Unmarshal(out[max(0, bytes.LastIndexByte(out, '{')):], &got); err != nil || got.US == 0 {
		return load{}, fmt.Errorf("wrk said %q", out)
	}
	return load{float64(got.Requests) / (float64(got.US) / 1e6), time.Duration(got.P99) * time.Microsecond, got.Failed}, nil
}

// unixLoad sends the same requests over a unix socket, which wrk cannot.
type unixLoad struct {
	tokens []string
	lasts  time.Duration
}

func (u *unixLoad) run(ctx context.Context, socket string, connections int) (load, error) {
	requests := make([][]byte, len(u.tokens))
	for i, token := range u.tokens {
		requests[i] = fmt.Appendf(nil, "GET /check HTTP/1.1\r\nHost: check\r\nAuthorization: Bearer %s\r\n\r\n", token)
	}
	took, errs := make([][]time.Duration, connections), make([]error, connections)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, u.lasts)
	defer cancel()
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() { took[i], errs[i] = converse(ctx, socket, requests, i*len(requests)/connections) })
	}
	all.Wait()
	elapsed := time.Since(begun)
	times := slices.Concat(took...)
	if err := errors.Join(errs...); err != nil || len(times) == 0 {
		return load{}, fmt.Errorf("load over a unix socket: %d answers: %w", len(times), err)
	}
	slices.Sort(times)
	return load{perSecond: float64(len(times)) / elapsed.Seconds(), p99: times[len(times)*99/100]}, nil
}

// converse sends one request after another until ctx ends, and gives how long
// each took. Any answer but 200 is an error.
func converse(ctx context.Context, socket string, requests [][]byte, first int) (took []time.Duration, err error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i := first; ctx.Err() == nil; i++ {
		begun := time.Now()
		if _, err := conn.Write(requests[i%len(requests)]); err != nil {
			return nil, err
		}
		if err := readOK(in); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}

// readOK reads an answer without a body.
func readOK(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("answered %q", bytes.TrimSpace(status))
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			return nil
		}
	}
}
