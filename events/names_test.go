package events_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

func TestFleetNamesCanBePartOfSubjectsAndStreams(t *testing.T) {
	for _, good := range []events.Fleet{events.DefaultFleet, "a", "eu-west-1", events.Fleet(strings.Repeat("a", 32))} {
		if err := good.Validate(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []events.Fleet{"", "A", "1a", "-a", "a.b", "a b", "a_b", "a*", ">", "a\n", "ä", events.Fleet(strings.Repeat("a", 33))} {
		if bad.Validate() == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestSubjectsAndStreamsOfAFleet(t *testing.T) {
	f := events.Fleet("eu-west")
	got := []string{f.StreamName(events.Control), f.StreamName(events.Tokens), f.StreamName(events.Audit),
		f.EventSubject(events.Control), f.EventSubject(events.Tokens), f.LiveSubject(events.Control), f.LiveSubject("*"),
		f.BeaconSubject(), f.ReportSubject("a1"), f.StatusSubject("*"), f.AskSubject("a1"), f.AskAllSubject(), f.QuerySubject(),
		f.AuditSubject("receipt"), f.AuditSubject(">")}
	want := []string{"EU_WEST_CONTROL", "EU_WEST_TOKENS", "EU_WEST_AUDIT",
		"eu-west.events.control", "eu-west.events.tokens", "eu-west.live.control", "eu-west.live.*",
		"eu-west.beacon", "eu-west.report.a1", "eu-west.status.*", "eu-west.ask.a1", "eu-west.ask", "eu-west.query",
		"eu-west.audit.receipt", "eu-west.audit.>"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLiveStreamsAreThoseOfTheFleet(t *testing.T) {
	f := events.DefaultFleet
	for _, s := range events.EventStreams {
		if got, ok := f.LiveStream(f.LiveSubject(s)); !ok || got != s {
			t.Errorf("%s: got %q, %v", s, got, ok)
		}
	}
	for _, subject := range []string{"", "control", "tokens", "rescind.live.", "rescind.live.audit", "rescind.live.*", "rescind.live.control.x",
		"other.live.control", "rescind.events.control", "rescind.live.Control", "x.rescind.live.control"} {
		if got, ok := f.LiveStream(subject); ok {
			t.Errorf("%q is taken for the live subject of %q", subject, got)
		}
	}
}
