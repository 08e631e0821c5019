package subscriber

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/rescind/rescind/events"
)

// KeysFile reads the publishers' key set from a JWKS file, anew at each refresh.
func KeysFile(path string) KeySource { return fileKeys(path) }

type fileKeys string

func (f fileKeys) Keys(context.Context) (*events.KeySet, error) {
	data, err := os.ReadFile(string(f))
	if err != nil {
		return nil, fmt.Errorf("reading publishers' keys: %w", err)
	}
	set, err := events.ParseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("publishers' keys in %s: %w", string(f), err)
	}
	return set, nil
}

// maxKeySet is the longest key set that is read from a URL, in bytes.
const maxKeySet = 1 << 20

// KeysURL reads the publishers' key set from a JWKS at url, anew at each refresh.
// A nil client means one with a timeout of 10 s. Whoever can answer for that URL
// can revoke anything: use https, or a loopback address.
func KeysURL(url string, client *http.Client) KeySource {
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	return urlKeys{url, client}
}

type urlKeys struct {
	url    string
	client *http.Client
}

func (u urlKeys) Keys(ctx context.Context) (*events.KeySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, nil)
	if err != nil {
		return nil, fmt.Errorf("publishers' keys: %w", err)
	}
	res, err := u.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching publishers' keys: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching publishers' keys from %s: %s", u.url, res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("fetching publishers' keys: %w", err)
	}
	if len(data) > maxKeySet {
		return nil, fmt.Errorf("publishers' keys from %s: longer than %d bytes", u.url, maxKeySet)
	}
	set, err := events.ParseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("publishers' keys from %s: %w", u.url, err)
	}
	return set, nil
}
