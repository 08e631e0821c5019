package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// ssfClient is a receiver of security events that polls (RFC 8936).
type ssfClient struct {
	t   *testing.T
	url string // of the publisher
	key string
}

// call sends JSON and reads the answer, which must have the status.
func (c *ssfClient) call(method, url string, body, into any, status int) {
	c.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, bytes.NewReader(b))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		c.t.Fatalf("%s %s: %d %s, %v", method, url, res.StatusCode, text, err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			c.t.Fatalf("%s: %v", text, err)
		}
	}
}

// stream finds the transmitter's endpoints as a stranger would, makes a stream to
// poll, and gives the URL to poll it at.
func (c *ssfClient) stream() string {
	c.t.Helper()
	status, text := get(c.t, c.url+"/.well-known/ssf-configuration", "")
	var found struct {
		Endpoint string `json:"configuration_endpoint"`
	}
	if err := json.Unmarshal([]byte(text), &found); status != 200 || err != nil {
		c.t.Fatalf("%d %s", status, text)
	}
	var made struct {
		Delivery struct {
			Endpoint string `json:"endpoint_url"`
		}
	}
	c.call(http.MethodPost, found.Endpoint, map[string]any{"delivery": map[string]string{"method": "urn:ietf:rfc:8936"}}, &made, 201)
	return made.Delivery.Endpoint
}

func (c *ssfClient) poll(url string, acks []string, max int) map[string]string {
	c.t.Helper()
	var got struct{ Sets map[string]string }
	c.call(http.MethodPost, url, map[string]any{"ack": acks, "maxEvents": max}, &got, 200)
	return got.Sets
}

// subjectOf reads the user of an event.
func subjectOf(t *testing.T, set string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(set, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Subject struct{ User struct{ Sub string } } `json:"sub_id"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Subject.User.Sub
}

// receiverFleet is a fleet with a key for receivers.
func receiverFleet(t *testing.T, yaml string, flags ...string) (*fleet, string) {
	t.Helper()
	var made struct{ Key, SHA256 string }
	if err := json.Unmarshal([]byte(rescind(t, "apikeys", "new", "siem", "--receiver", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	f := newFleet(t)
	rescind(t, "keys", "ssf", "--dir", f.dir)
	f.configure("api_keys:\n  - {id: siem, sha256: " + made.SHA256 + ", receiver: true}\n" + yaml)
	f.pubFlags = flags
	f.start()
	return f, made.Key
}

// TestPollClientDrainsTenThousandEvents with acknowledgements, some answers of which
// it loses: what they held comes again.
func TestPollClientDrainsTenThousandEvents(t *testing.T) {
	const count, workers, atOnce = 10_000, 40, 500
	f, key := receiverFleet(t, "")
	c := &ssfClient{t, f.pubURL, key}
	url := c.stream()
	begun := time.Now()
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range count / workers {
				if status, body := request(t, http.MethodPost, f.pubURL+"/v1/revocations?wait=none", f.adminKey,
					fmt.Sprintf(`{"user":"user-%d-%d","realm":"demo"}`, w, i)); status != 201 {
					t.Errorf("%d %s", status, body)
					return
				}
			}
		})
	}
	users, seen := map[string]bool{}, map[string]bool{}
	var acks []string
	lost, repeated := 0, 0
	for poll := 1; len(users) < count && time.Since(begun) < 4*time.Minute; poll++ {
		sets := c.poll(url, acks, atOnce)
		acks = nil
		lose := poll%5 == 0 && lost < 3
		if lose {
			lost++
		}
		for jti, set := range sets {
			if seen[jti] {
				repeated++
			}
			seen[jti] = true
			if !lose {
				users[subjectOf(t, set)] = true
				acks = append(acks, jti)
			}
		}
	}
	group.Wait()
	if len(users) != count || repeated == 0 {
		t.Fatalf("%d of %d users came, %d events again", len(users), count, repeated)
	}
	c.poll(url, acks, 0)
	t.Logf("%d events by polling in %s; %d answers were lost, and %d events came again", count, time.Since(begun).Round(time.Millisecond), lost, repeated)
}

// TestOneFleetFollowsAnother: two fleets, of which the second takes the first's events
// by polling it, and by push.
func TestOneFleetFollowsAnother(t *testing.T) {
	for _, method := range []string{"poll", "push"} {
		t.Run(method, func(t *testing.T) {
			first, key := receiverFleet(t, "", "--ssf-allow", "127.0.0.0/8")
			second := newFleet(t)
			// One issuer, known to both.
			issuer := first.path("realms", "demo", "jwks.json")
			from := "  issuer: " + first.pubURL + "\n    realm: idp\n    audience: [\"apikey:siem\"]\n"
			c := &ssfClient{t, first.pubURL, key}
			if method == "poll" {
				writeFile(t, second.path("token"), key)
				from += "    poll: {url: \"" + c.stream() + "\", token_file: token}\n"
			}
			second.configure("realms:\n  idp: {issuers: [\"https://demo.rescind.test\"], jwks: " + issuer + "}\nssf_transmitters:\n  -" + from[1:])
			second.noDev = true
			second.start("a")
			if method == "push" {
				c.call(http.MethodPost, first.pubURL+"/ssf/stream", map[string]any{"delivery": map[string]string{
					"method": "urn:ietf:rfc:8935", "endpoint_url": second.pubURL + "/ssf/events"}}, nil, 201)
			}
			token, other := first.token("--user", "jack"), first.token("--user", "jill")
			for _, raw := range []string{token, other} {
				if status := second.agents["a"].check(raw); status != 200 {
					t.Fatalf("the agent answers %d before", status)
				}
			}
			begun := time.Now()
			if status, body := request(t, http.MethodPost, first.pubURL+"/v1/revocations?wait=none", first.adminKey, `{"user":"jack","realm":"demo"}`); status != 201 {
				t.Fatalf("%d %s", status, body)
			}
			eventually(t, 20*time.Second, "the other fleet refuses the token", func() bool { return second.agents["a"].check(token) == 401 })
			t.Logf("refused by an agent of the other fleet after %d ms", time.Since(begun).Milliseconds())
			if status := second.agents["a"].check(other); status != 200 {
				t.Errorf("the agent answers %d to another user's token", status)
			}
		})
	}
}
