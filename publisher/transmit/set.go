package transmit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
)

// outgoing is a SET for one receiver.
type outgoing struct{ jti, raw string }

// translate makes an event of the fleet into a SET for the receiver, signed anew; nil
// when it is not for that one. The fleet's event is verified: what somebody else has
// put into the stream is not passed on.
func (t *Transmitter) translate(s *Stream, raw []byte) (*outgoing, error) {
	r, _, err := t.cfg.Keys().Open(t.cfg.Bus.Fleet(), raw)
	if err != nil {
		return nil, err
	}
	if !s.wants(r) {
		return nil, nil
	}
	original, err := payloadOf(string(raw))
	if err != nil {
		return nil, err
	}
	uri := r.Target.Kind.EventType()
	body := original.Events[uri]
	if uri == events.TypeSessionRevoked {
		body = sessionRevoked(r)
	}
	id := r.ID.String()
	set, err := t.cfg.Key.sign(jwt.MapClaims{"iss": t.cfg.Issuer, "aud": s.Audience, "iat": r.IssuedAt, "jti": id, "txn": r.Txn.String(),
		"sub_id": original.Subject, "events": map[string]any{uri: body}})
	if err != nil {
		return nil, err
	}
	return &outgoing{id, set}, nil
}

// sessionRevoked has the members of CAEP alone. A reason must be there and not empty
// (CAEP Interoperability Profile 1.0). Who has a cutoff of before is signed out as of
// then.
func sessionRevoked(r *events.Revocation) map[string]any {
	at := r.IssuedAt
	if r.NotBefore != 0 {
		at = min(at, r.NotBefore)
	}
	reason := r.Reason
	if reason == "" {
		reason = "revoked"
	}
	return map[string]any{"event_timestamp": at, "initiating_entity": string(r.Initiator), "reason_admin": map[string]string{"en": reason}}
}

// payload are the members of a fleet's event that are passed on as they are.
type payload struct {
	Subject json.RawMessage           `json:"sub_id"`
	Events  map[string]map[string]any `json:"events"`
}

// payloadOf reads them of a SET that was verified.
func payloadOf(raw string) (*payload, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: not three parts", events.ErrMalformed)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, fmt.Errorf("%w: payload is not base64url", events.ErrMalformed)
	}
	var p payload
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%w: payload is not JSON", events.ErrMalformed)
	}
	return &p, nil
}

// verification makes a verification event (SSF 1.0 section 8.1.4.1).
func (t *Transmitter) verification(s *Stream, state string) (string, error) {
	body := map[string]any{}
	if state != "" {
		body["state"] = state
	}
	return t.cfg.Key.sign(jwt.MapClaims{"iss": t.cfg.Issuer, "aud": s.Audience, "iat": time.Now().Unix(), "jti": events.NewEventID().String(),
		"sub_id": map[string]string{"format": "opaque", "id": s.ID}, "events": map[string]any{TypeVerification: body}})
}

// own takes a SET that was published for the stream alone. One that no publisher has
// signed for it is nil.
func (t *Transmitter) own(s *Stream, raw string) *outgoing {
	if !t.cfg.Key.signed(raw) {
		return nil
	}
	st, err := events.ParseStatement(raw)
	if err != nil {
		return nil
	}
	if subject, _ := st.Claims["sub_id"].(map[string]any); subject["id"] != s.ID {
		return nil
	}
	return &outgoing{st.JTI, raw}
}
