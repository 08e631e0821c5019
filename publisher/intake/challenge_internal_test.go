package intake

import (
	"errors"
	"testing"
)

func TestAChallengeNeverEndsItsOwnQuotes(t *testing.T) {
	if got, want := describe(errors.New("a \"b\"\\ ä\n")), "a 'b'' ''"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
