package realm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxDocument is the longest JWKS or discovery document, in bytes.
const maxDocument = 1 << 20

// How long a key set is used before it is asked for again: what its server says,
// within bounds, or defaultAge. A file is looked at more often, as it is cheap.
const (
	minAge     = time.Minute
	maxAge     = 24 * time.Hour
	defaultAge = 15 * time.Minute
	fileAge    = 5 * time.Second
)

// readKeys loads a JWKS from a file. Where the file's age would tell whether it
// changed, a second change within the clock's grain would be missed; so it is
// read each time.
func readKeys(path string) loader {
	return func(context.Context) ([]byte, time.Duration, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		defer f.Close()
		data, err := readAll(f)
		return data, fileAge, err
	}
}

// fetchKeys loads a JWKS from a URL.
func fetchKeys(client *http.Client, url string) loader {
	return func(ctx context.Context) ([]byte, time.Duration, error) { return get(ctx, client, url) }
}

// discoverKeys loads the JWKS that an issuer's configuration names (OpenID
// Connect Discovery 1.0 section 4). The issuer must be exactly the one asked.
func discoverKeys(client *http.Client, issuer string) loader {
	return discoveredKeys(client, issuer, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
}

// discoverTransmitterKeys is discoverKeys for a transmitter of security events (SSF
// 1.0 section 7.2), whose path comes behind that of the document.
func discoverTransmitterKeys(client *http.Client, issuer *url.URL) loader {
	where := *issuer
	where.Path = "/.well-known/ssf-configuration" + strings.TrimSuffix(issuer.Path, "/")
	return discoveredKeys(client, issuer.String(), where.String())
}

func discoveredKeys(client *http.Client, issuer, where string) loader {
	return func(ctx context.Context) ([]byte, time.Duration, error) {
		data, _, err := get(ctx, client, where)
		if err != nil {
			return nil, 0, err
		}
		keysAt, err := parseDiscovery(data, issuer)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", where, err)
		}
		return get(ctx, client, keysAt)
	}
}

func parseDiscovery(data []byte, issuer string) (jwksURI string, err error) {
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if json.Unmarshal(data, &doc) != nil {
		return "", errors.New("not a discovery document")
	}
	if doc.Issuer != issuer {
		return "", fmt.Errorf("it is the configuration of issuer %q", doc.Issuer)
	}
	u, err := webURL(doc.JWKSURI)
	if err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	if strings.HasPrefix(issuer, "https:") && u.Scheme != "https" {
		return "", errors.New("jwks_uri: not https, though the issuer is")
	}
	return doc.JWKSURI, nil
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	if to, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
		return nil, 0, fmt.Errorf("%s redirects to %s, which is not followed", url, to.Redacted())
	}
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("%s answers %s", url, res.Status)
	}
	data, err := readAll(res.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", url, err)
	}
	return data, ageOf(res.Header), nil
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("longer than %d bytes", maxDocument)
	}
	return data, nil
}

// ageOf reads how long an answer stays good (RFC 9111 sections 4.2 and 5.2.2).
func ageOf(h http.Header) time.Duration {
	age := defaultAge
	for d := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(d)), "=")
		switch name {
		case "no-store", "no-cache":
			return minAge
		case "max-age":
			if n, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil {
				age = time.Duration(min(n, int(maxAge/time.Second))) * time.Second
			}
		}
	}
	if spent, err := strconv.Atoi(h.Get("Age")); err == nil && spent > 0 {
		age -= time.Duration(min(spent, int(maxAge/time.Second))) * time.Second
	}
	return min(max(age, minAge), maxAge)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
