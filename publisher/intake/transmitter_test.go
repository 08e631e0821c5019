package intake_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

const (
	sessionRevoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	pushAuth       = "Bearer agreed on"
	receiverAud    = "https://receiver.example/caep"
)

// transmitter is somebody who sends security events, with its documents and a stream
// to poll.
type transmitter struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu     sync.Mutex
	stream map[string]string
	asked  []pollAsked
	fail   int // how many polls are to fail
}

// pollAsked is what a poll said.
type pollAsked struct {
	Ack           []string                     `json:"ack"`
	Errors        map[string]map[string]string `json:"setErrs"`
	MaxEvents     int                          `json:"maxEvents"`
	authorization string
	language      string
}

var transmitterKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newTransmitter(t *testing.T) *transmitter {
	t.Helper()
	key, err := transmitterKey()
	must(t, err)
	tr := &transmitter{key: key, stream: map[string]string{}}
	mux := http.NewServeMux()
	tr.Server = httptest.NewServer(mux)
	t.Cleanup(tr.Close)
	mux.HandleFunc("GET /.well-known/ssf-configuration/tenant", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": tr.issuer(), "jwks_uri": tr.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "1", Use: "sig", Algorithm: "RS256"}}})
	})
	mux.HandleFunc("POST /poll", tr.poll)
	return tr
}

func (tr *transmitter) issuer() string { return tr.URL + "/tenant" }

func (tr *transmitter) poll(w http.ResponseWriter, r *http.Request) {
	var asked pollAsked
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	asked.authorization, asked.language = r.Header.Get("Authorization"), r.Header.Get("Content-Language")
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.asked = append(tr.asked, asked)
	if tr.fail > 0 {
		tr.fail--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	for _, jti := range asked.Ack {
		delete(tr.stream, jti)
	}
	for jti := range asked.Errors {
		delete(tr.stream, jti)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"sets": tr.stream})
}

// put puts an event into the stream to poll.
func (tr *transmitter) put(jti, raw string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.stream[jti] = raw
}

func (tr *transmitter) polls() []pollAsked {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]pollAsked(nil), tr.asked...)
}

// left are the events that were neither acknowledged nor refused.
func (tr *transmitter) left() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.stream)
}

// issSub is a user of demo as a subject.
func issSub(user string) map[string]any {
	return map[string]any{"format": "iss_sub", "iss": demoIssuer, "sub": user}
}

// setClaims are those of a right event about a user of demo, but for what changes
// say; nil leaves one out.
func (tr *transmitter) setClaims(user string, changes ...any) jwt.MapClaims {
	c := jwt.MapClaims{"iss": tr.issuer(), "aud": receiverAud, "iat": time.Now().Unix(), "jti": rand.Text(), "sub_id": issSub(user),
		"events": map[string]any{sessionRevoked: map[string]any{"event_timestamp": time.Now().Unix(), "initiating_entity": "policy",
			"reason_admin": map[string]string{"de": "Grund", "en": "reason"}}}}
	return changed(c, changes)
}

// sign signs an event. Header changes as above.
func (tr *transmitter) sign(t *testing.T, claims jwt.MapClaims, header map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	tok.Header["typ"], tok.Header["kid"] = "secevent+jwt", "1"
	maps.Copy(tok.Header, header)
	raw, err := tok.SignedString(tr.key)
	must(t, err)
	return raw
}

func (tr *transmitter) set(t *testing.T, user string, changes ...any) string {
	t.Helper()
	return tr.sign(t, tr.setClaims(user, changes...), nil)
}

// receive makes the rig take the transmitter's events, as changed.
func (g *rig) receive(t *testing.T, tr *transmitter, changes ...func(*intake.TransmitterConfig)) *intake.Server {
	t.Helper()
	sum := sha256.Sum256([]byte(pushAuth))
	c := intake.TransmitterConfig{Issuer: tr.issuer(), Realm: "demo", Audience: []string{receiverAud}, AuthorizationSHA256: hex.EncodeToString(sum[:])}
	for _, change := range changes {
		change(&c)
	}
	all, err := intake.OpenTransmitters([]intake.TransmitterConfig{c}, g.realms, realm.Options{})
	must(t, err)
	t.Cleanup(all.Close)
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms, Transmitters: all, Logger: g.log.logger()})
	must(t, err)
	g.serveAt(t, s)
	return s
}
