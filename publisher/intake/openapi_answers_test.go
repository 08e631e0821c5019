package intake_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

// described is the document as it is served.
func (g *rig) described(t *testing.T) *openapi {
	t.Helper()
	r := g.send(t, http.MethodGet, "/openapi.json", "")
	if r.status != 200 || r.header.Get("Content-Type") != "application/json" || r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("got %d %v", r.status, r.header)
	}
	var doc map[string]any
	must(t, json.Unmarshal([]byte(r.body), &doc))
	return &openapi{doc: doc}
}

// operation is one of the document, and how to ask for it.
type operation struct{ method, path, contentType string }

// operations are those that may answer with the status.
func (o *openapi) operations(status string) (out []operation) {
	paths := o.doc["paths"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		for _, method := range []string{"get", "post", "put", "patch", "delete"} {
			at, node := o.at("/paths", path, method)
			if _, answer := o.at(at, "responses", status); node == nil || answer == nil {
				continue
			}
			op := operation{strings.ToUpper(method), path, ""}
			_, content := o.at(at, "requestBody", "content")
			if types, ok := content.(map[string]any); ok {
				op.contentType = slices.Sorted(maps.Keys(types))[0]
			}
			out = append(out, op)
		}
	}
	return out
}

// ask sends what every operation takes: with id as the id of whatever it is about.
func (g *rig) ask(t *testing.T, op operation, id string, headers ...string) reply {
	t.Helper()
	path, body := strings.ReplaceAll(op.path, "{id}", id), ""
	switch {
	case strings.HasPrefix(path, "/ssf/") && op.contentType == "":
		path += "?stream_id=" + id
	case strings.HasPrefix(path, "/ssf/"):
		body = `{"stream_id":"` + id + `","status":"enabled"}`
	case op.contentType == "application/x-www-form-urlencoded":
		body = "token=x"
	case strings.HasPrefix(path, "/_"):
		body = `{"username":"jack"}`
	case op.contentType != "":
		body = `{"user":"jack"}`
	}
	if op.contentType != "" {
		headers = append(headers, "Content-Type: "+op.contentType)
	}
	return g.send(t, op.method, path, body, headers...)
}

func (g *rig) wantStatus(t *testing.T, status int, op operation, got reply) {
	t.Helper()
	if got.status != status {
		t.Errorf("%s %s: got %d %s, want %d", op.method, op.path, got.status, got.body, status)
	}
}

// What is served is described, and nothing else: whichever doors are open.
func TestDocumentHasWhatIsServed(t *testing.T) {
	g := newRig(t)
	pathsOf := func() []string { return slices.Sorted(maps.Keys(g.described(t).doc["paths"].(map[string]any))) }
	g.limit(t, intake.Limits{}) // has no transmitter
	if paths := pathsOf(); slices.Contains(paths, "/ssf/stream") || !slices.Contains(paths, "/global-token-revocation") {
		t.Errorf("without a transmitter: %v", paths)
	}
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms})
	must(t, err)
	g.serveAt(t, s)
	if paths := pathsOf(); slices.Contains(paths, "/global-token-revocation") {
		t.Errorf("without Global Token Revocation: %v", paths)
	}
	g.transmit(t)
	o := g.described(t)
	_, server := o.at("/servers", "0", "url")
	if server != issuer {
		t.Errorf("the server is %v", server)
	}
	// What stands for the rest of Elasticsearch's paths, and for all others, is no
	// operation of its own.
	want := append(pathsOf()[1:], "/_security/", "/_xpack/", "/{$}") // the first is /
	slices.Sort(want)
	if served := g.served.Paths(); !slices.Equal(served, want) {
		t.Errorf("served    %v\ndescribed %v", served, want)
	}
}

// Each operation answers as the document has it: judged is what holds the answers
// against it. Here are those that no other test asks for.
func TestOperationsAnswerAsDescribed(t *testing.T) {
	const nobody = "01a212eb-26e7-7df6-8914-32746d56da19"
	t.Run("401", func(t *testing.T) {
		g := newRig(t)
		g.transmit(t)
		for _, op := range g.described(t).operations("401") {
			g.wantStatus(t, 401, op, g.ask(t, op, nobody, "Authorization: Bearer nobody's"))
		}
	})
	t.Run("403", func(t *testing.T) {
		g := newRig(t)
		g.transmit(t)
		auth := "Authorization: Bearer " + g.token(t, realm.TokenRequest{User: "jack"})
		for _, op := range g.described(t).operations("403") {
			if op.path != "/global-token-revocation" { // whose body is another
				g.wantStatus(t, 403, op, g.ask(t, op, nobody, auth))
			}
		}
	})
	t.Run("404", func(t *testing.T) {
		g := newRig(t)
		g.transmit(t)
		for _, op := range g.described(t).operations("404") {
			if !strings.HasPrefix(op.path, "/_") {
				g.wantStatus(t, 404, op, g.ask(t, op, nobody, "Authorization: "+admin))
			}
		}
		got := g.send(t, http.MethodDelete, "/_xpack/security/oauth2/token", `{"token":"`+g.token(t, realm.TokenRequest{User: "jack"})+`x"}`, jsonType, "Authorization: "+admin)
		if got.status != 404 {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
	t.Run("429", func(t *testing.T) { testTooMany(t) })
	t.Run("503", func(t *testing.T) { testUnavailable(t) })
}

func testTooMany(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	all, err := intake.OpenTransmitters([]intake.TransmitterConfig{{Issuer: tr.issuer(), Realm: "demo", Audience: []string{receiverAud}}}, g.realms, realm.Options{})
	must(t, err)
	t.Cleanup(all.Close)
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms, Transmitters: all, GlobalTokenRevocation: true,
		Limits: intake.Limits{Default: must2(intake.ParseRate("1/h"))}})
	must(t, err)
	g.serveAt(t, s)
	user := func(name string) string {
		return `{"sub_id":{"format":"iss_sub","iss":"` + demoIssuer + `","sub":"` + name + `"}}`
	}
	one, two := g.token(t, realm.TokenRequest{User: "ann"}), g.token(t, realm.TokenRequest{User: "ann"})
	for _, c := range []struct {
		method, path string
		bodies       [2]string
		headers      [2]string
		contentType  string
	}{
		{"DELETE", "/_xpack/security/oauth2/token", [2]string{`{"username":"a"}`, `{"username":"b"}`}, [2]string{admin, admin}, "application/json"},
		{"DELETE", "/v1/revocations/" + events.NewEventID().String(), [2]string{}, [2]string{"", admin}, ""},
		{"DELETE", "/api/tokens", [2]string{}, [2]string{"Bearer " + one, "Bearer " + two}, ""},
		{"POST", "/backchannel-logout", [2]string{"logout_token=" + g.logoutToken(t), "logout_token=" + g.logoutToken(t)}, [2]string{}, "application/x-www-form-urlencoded"},
		{"POST", "/global-token-revocation", [2]string{user("a"), user("b")}, [2]string{"Bearer " + g.free, "Bearer " + g.free}, "application/json"},
		{"POST", "/ssf/events", [2]string{tr.set(t, "a"), tr.set(t, "b")}, [2]string{}, "application/secevent+jwt"},
	} {
		for i, body := range c.bodies {
			var headers []string
			if c.headers[i] != "" {
				headers = append(headers, "Authorization: "+c.headers[i])
			}
			if c.contentType != "" {
				headers = append(headers, "Content-Type: "+c.contentType)
			}
			if got := g.send(t, c.method, c.path, body, headers...); (got.status == 429) != (i == 1) {
				t.Errorf("%s %s, %d: %d %s", c.method, c.path, i, got.status, got.body)
			}
		}
	}
}

func testUnavailable(t *testing.T) {
	g := newRig(t)
	g.transmit(t)
	var stream struct {
		ID string `json:"stream_id"`
	}
	g.ssf(t, http.MethodPost, "/ssf/stream", map[string]any{}, 201, &stream)
	var done struct {
		ID string `json:"id"`
	}
	revoked := g.send(t, http.MethodPost, "/v1/revocations", `{"user":"jack"}`, jsonType, "Authorization: "+admin)
	must(t, json.Unmarshal([]byte(revoked.body), &done))
	document := g.described(t)
	g.nats.Stop(t)
	for _, op := range document.operations("503") {
		if strings.HasPrefix(op.path, "/ssf/") && op.path != "/ssf/events" {
			g.wantStatus(t, 503, op, g.ask(t, op, stream.ID, "Authorization: Bearer "+g.receiver))
		}
	}
	if got := g.send(t, http.MethodDelete, "/v1/revocations/"+done.ID, "", "Authorization: "+admin); got.status != 202 {
		t.Errorf("a lift without a bus: %d %s", got.status, got.body)
	}
	must(t, g.pub.Close())
	for _, op := range document.operations("503") {
		if strings.HasPrefix(op.path, "/v1/") || strings.HasPrefix(op.path, "/_") {
			g.wantStatus(t, 503, op, g.ask(t, op, done.ID, "Authorization: "+admin))
		}
	}
	got := g.send(t, http.MethodDelete, "/api/tokens", "", "Authorization: Bearer "+g.token(t, realm.TokenRequest{User: "ann"}))
	if got.status != 503 {
		t.Errorf("a sign-out at a closed publisher: %d %s", got.status, got.body)
	}
}
