package events

// subject writes a subject identifier (RFC 9493 section 3, SSF 1.0 section 3), by
// which any reader of SETs sees what the event is about. rescind itself reads
// the body's match, which says more.
func (w *writer) subject(r *Revocation) {
	t := &r.Target
	w.begin("sub_id")
	defer w.end()
	switch {
	case t.Kind == KindToken && t.JTI != "":
		w.str("format", "jwt_id")
		w.str("iss", t.Issuer)
		w.str("jti", t.JTI)
	case t.Kind == KindToken:
		w.opaque(t.Identities[0].String())
	case t.Kind == KindTokens:
		w.opaque(r.ID.String())
	case t.Kind == KindLift:
		w.opaque(t.Lifted.String())
	case t.Kind == KindAll:
		w.opaque(string(r.Fleet))
	case t.Kind == KindUser && t.Realm == "":
		w.user(t)
	default:
		w.complex(t)
	}
}

// complex writes a subject of several parts. An absent member is a wildcard.
// Claim is our own, for a rule on a claim that SSF has no member for.
func (w *writer) complex(t *Target) {
	w.str("format", "complex")
	switch t.Kind {
	case KindUser:
		w.begin("user")
		w.user(t)
		w.end()
	case KindSession:
		w.part("session", t.Value)
	case KindClient:
		w.part("application", t.Value)
	}
	if t.Realm != "" {
		w.part("tenant", t.Realm)
	}
	if t.Kind == KindClaim {
		w.part("claim", t.Claim+"="+t.Value)
	}
}

func (w *writer) user(t *Target) {
	if t.Claim != "sub" || len(t.Issuers) != 1 {
		w.opaque(t.Value)
		return
	}
	w.str("format", "iss_sub")
	w.str("iss", t.Issuers[0])
	w.str("sub", t.Value)
}

func (w *writer) part(name, id string) {
	w.begin(name)
	w.opaque(id)
	w.end()
}

func (w *writer) opaque(id string) {
	w.str("format", "opaque")
	w.str("id", id)
}
