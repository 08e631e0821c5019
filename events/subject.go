package events

// subjectID is a subject identifier (RFC 9493 section 3, SSF 1.0 section 3), by
// which any reader of SETs sees what the event is about. rescind itself reads
// the body's match, which says more.
type subjectID struct {
	Format string `json:"format"`
	Issuer string `json:"iss,omitempty"`
	JTI    string `json:"jti,omitempty"`
	Sub    string `json:"sub,omitempty"`
	ID     string `json:"id,omitempty"`

	// Members of the complex format. An absent member is a wildcard. Claim is
	// our own, for a rule on a claim that SSF has no member for.
	User        *subjectID `json:"user,omitempty"`
	Session     *subjectID `json:"session,omitempty"`
	Application *subjectID `json:"application,omitempty"`
	Tenant      *subjectID `json:"tenant,omitempty"`
	Claim       *subjectID `json:"claim,omitempty"`
}

func opaque(id string) *subjectID { return &subjectID{Format: "opaque", ID: id} }

func subjectOf(r *Revocation) subjectID {
	t := &r.Target
	s := subjectID{Format: "complex"}
	if t.Realm != "" {
		s.Tenant = opaque(t.Realm)
	}
	switch t.Kind {
	case KindToken:
		if t.JTI != "" {
			return subjectID{Format: "jwt_id", Issuer: t.Issuer, JTI: t.JTI}
		}
		return *opaque(t.Identities[0].String())
	case KindUser:
		s.User = userSubject(t)
		if t.Realm == "" {
			return *s.User
		}
	case KindSession:
		s.Session = opaque(t.Value)
	case KindClient:
		s.Application = opaque(t.Value)
	case KindClaim:
		s.Claim = opaque(t.Claim + "=" + t.Value)
	case KindRealm:
	case KindLift:
		return *opaque(t.Lifted.String())
	case KindAll:
		return *opaque(string(r.Fleet))
	default:
		return *opaque(r.ID.String())
	}
	return s
}

func userSubject(t *Target) *subjectID {
	if t.Claim == "sub" && len(t.Issuers) == 1 {
		return &subjectID{Format: "iss_sub", Issuer: t.Issuers[0], Sub: t.Value}
	}
	return opaque(t.Value)
}
