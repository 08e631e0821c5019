package intake

import (
	"fmt"
	"html"
	"mime"
	"net/http"
	"strings"
)

// documentation is where people read on.
const documentation = "https://github.com/rescind/rescind"

// openDoor is what anyone may read.
type openDoor struct{ s *Server }

func (openDoor) name() string { return "open" }

func (openDoor) begin(http.Header) {}

func (d openDoor) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.s.failProblem(w, r, d, err)
}

func (openDoor) notFound(http.ResponseWriter, *http.Request) error { return errNoRoute }

// jwks is the fleet's key set, by which anyone can verify events and receipts.
// Agents take it as it is: each key has the publisher that it is bound to
// (rescind_publisher) and the kinds that it may sign (rescind_kinds).
func (d openDoor) jwks(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, "application/jwk-set+json", http.StatusOK, d.s.pub.Keys())
	return nil
}

// health is about the process alone.
func (openDoor) health(w http.ResponseWriter, _ *http.Request) error {
	writeBody(w, "text/plain; charset=utf-8", http.StatusOK, []byte("ok\n"))
	return nil
}

// ready is whether the publisher knows its streams and its agents.
func (d openDoor) ready(w http.ResponseWriter, _ *http.Request) error {
	if err := d.s.pub.Ready(); err != nil {
		w.Header().Set("Retry-After", retryAfter)
		writeBody(w, "text/plain; charset=utf-8", http.StatusServiceUnavailable, []byte(err.Error()+"\n"))
		return nil
	}
	writeBody(w, "text/plain; charset=utf-8", http.StatusOK, []byte("ready\n"))
	return nil
}

// root is for whoever asks what this is: Elasticsearch clients, which look for a
// product before they do anything else, and people.
func (d openDoor) root(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Vary", "Accept")
	switch rootForm(r.Header.Values("Accept")) {
	case formJSON:
		elasticDoor(d).begin(w.Header())
		writeElastic(w, r, http.StatusOK, d.s.information(), isPretty(r, true))
	case formHTML:
		page := "<!doctype html><title>rescind</title><pre>" + html.EscapeString(d.landing()) + "</pre>\n"
		writeBody(w, "text/html; charset=utf-8", http.StatusOK, []byte(page))
	default:
		writeBody(w, "text/plain; charset=utf-8", http.StatusOK, []byte(d.landing()))
	}
	return nil
}

type form int

const (
	formText form = iota
	formHTML
	formJSON
)

// rootForm is JSON for who takes nothing else, or does not say: clients that are
// not browsers often send no Accept.
func rootForm(accept []string) form {
	answer := formJSON
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		t, _, err := mime.ParseMediaType(part)
		switch {
		case err != nil || jsonType(part) != "":
		case t == "text/html" || t == "application/xhtml+xml":
			return formHTML
		default:
			answer = formText
		}
	}
	return answer
}

func (d openDoor) landing() string {
	return fmt.Sprintf(`This is the rescind publisher of fleet %s: it signs people out of every service at once.

  POST   /v1/revocations            revoke tokens, a session, a user, a client, a realm
  GET    /v1/revocations            what was revoked, by whom, and what came of it
  GET    /v1/agents                 which services enforce it
  DELETE /_security/oauth2/token    the same, as Elasticsearch clients call it
  DELETE /identity/api/tokens       sign out the bearer, as LUSID clients call it
  POST   /oauth2/revoke             the same, as OAuth clients call it; /oauth2/introspect
  POST   /backchannel-logout        OIDC Back-Channel Logout
  POST   /ssf/events                security events (CAEP, RISC) of known transmitters
  GET    /.well-known/ssf-configuration  how others can receive security events from here
  GET    /.well-known/jwks.json     the keys that its events and receipts are signed with
  GET    /readyz /healthz /metrics
  GET    /openapi.json              all of it, as OpenAPI 3.1

Documentation: %s
`, d.s.pub.Fleet(), documentation)
}

// elasticVersion is the version of Elasticsearch whose API the door follows.
const elasticVersion = "8.19.0"

type information struct {
	Name    string             `json:"name"`
	Cluster string             `json:"cluster_name"`
	UUID    string             `json:"cluster_uuid"`
	Version informationVersion `json:"version"`
	Tagline string             `json:"tagline"`
}

type informationVersion struct {
	Number   string `json:"number"`
	Flavor   string `json:"build_flavor"`
	Type     string `json:"build_type"`
	Hash     string `json:"build_hash"`
	Date     string `json:"build_date"`
	Snapshot bool   `json:"build_snapshot"`
	Lucene   string `json:"lucene_version"`
	Wire     string `json:"minimum_wire_compatibility_version"`
	Index    string `json:"minimum_index_compatibility_version"`
}

// information is the document by which an Elasticsearch client knows a server.
func (s *Server) information() information {
	return information{Name: s.pub.ID(), Cluster: string(s.pub.Fleet()), UUID: s.pub.ID(),
		Version: informationVersion{Number: elasticVersion, Flavor: "default", Type: "docker", Hash: "unknown",
			Date: "2025-07-23T22:05:38.589614317Z", Lucene: "9.12.2", Wire: "7.17.0", Index: "7.0.0"},
		Tagline: "You Know, for Search"}
}
