package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"
)

// callTimeout is how long an answer may take.
const callTimeout = time.Minute

// maxAnswer is the longest answer that the client reads, in bytes.
const maxAnswer = 16 << 20

// httpClient gives a client for base, which may be unix:/path, and the URL to
// put paths behind.
func (g *globals) httpClient(base string) (*http.Client, string, error) {
	client := &http.Client{Timeout: callTimeout}
	path, ok := strings.CutPrefix(base, "unix:")
	if !ok {
		t, err := g.transport()
		client.Transport = t
		return client, strings.TrimSuffix(base, "/"), err
	}
	client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	return client, "http://unix", nil
}

// apiKey reads the key to show to the publisher.
func (g *globals) apiKey() (string, error) {
	path := orPath(g.APIKeyFile, g.path("admin.key"))
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no key at %s: name one with --api-key-file (rescind up makes admin.key, rescind apikeys new makes keys for a fleet)", path)
	}
	return key, err
}

// call asks the publisher with a JSON body, nil for none, and gives the status and
// the body of the answer.
func (g *globals) call(ctx context.Context, method, path string, body any) (int, []byte, error) {
	if body == nil {
		return g.ask(ctx, method, path, "", nil, callTimeout)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	return g.ask(ctx, method, path, "application/json", bytes.NewReader(b), callTimeout)
}

// ask is call with any body, and for as long as timeout.
func (g *globals) ask(ctx context.Context, method, path, contentType string, body io.Reader, timeout time.Duration) (int, []byte, error) {
	key := ""
	if g.ClientCert == "" || g.APIKeyFile != "" { // else the certificate says who asks
		var err error
		if key, err = g.apiKey(); err != nil {
			return 0, nil, err
		}
	}
	client, base, err := g.httpClient(g.Publisher)
	if err != nil {
		return 0, nil, err
	}
	client.Timeout = timeout
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return 0, nil, usage("--publisher: %v", err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("asking the publisher: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return res.StatusCode, b, err
}

// refusal makes a problem document (RFC 9457) into an error. What the publisher
// cannot make sense of is the caller's mistake, as a wrong flag is.
func refusal(status int, body []byte) error {
	var p struct {
		Title, Detail string
		Errors        []struct{ Detail string }
	}
	_ = json.Unmarshal(body, &p) // anything else has no title
	why := cmp.Or(p.Detail, p.Title, http.StatusText(status))
	if len(p.Errors) > 1 {
		for _, e := range p.Errors {
			why += "\n  " + e.Detail
		}
	}
	code := exitFailed
	if status == http.StatusBadRequest || status == http.StatusUnprocessableEntity {
		code = exitUsage
	}
	return exit{code, fmt.Sprintf("the publisher answered %d: %s", status, why)}
}

// tokenArg reads a TOKEN argument; "-" means standard input, which keeps it out
// of the process list and the shell's history.
func (g *globals) tokenArg(arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	b, err := io.ReadAll(io.LimitReader(g.std.in, 1<<20))
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	t := strings.TrimSpace(string(b))
	if t == "" {
		return "", usage("no token on standard input")
	}
	return t, nil
}
