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

// maxAnswer is the longest answer that the client reads, in bytes.
const maxAnswer = 16 << 20

// httpClient gives a client for base, which may be unix:/path, and the URL to
// put paths behind.
func httpClient(base string) (*http.Client, string) {
	client := &http.Client{Timeout: time.Minute}
	path, ok := strings.CutPrefix(base, "unix:")
	if !ok {
		return client, strings.TrimSuffix(base, "/")
	}
	client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	return client, "http://unix"
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

// call asks the publisher, and gives the status and the body.
func (g *globals) call(ctx context.Context, method, path string, body any) (int, []byte, error) {
	key, err := g.apiKey()
	if err != nil {
		return 0, nil, err
	}
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		payload = bytes.NewReader(b)
	}
	client, base := httpClient(g.Publisher)
	req, err := http.NewRequestWithContext(ctx, method, base+path, payload)
	if err != nil {
		return 0, nil, usage("--publisher: %v", err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
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
	var p struct{ Title, Detail string }
	_ = json.Unmarshal(body, &p) // anything else has no title
	why := cmp.Or(p.Detail, p.Title, http.StatusText(status))
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
