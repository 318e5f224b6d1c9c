package crowd_test

import (
	"testing"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
	"github.com/sockmill/sockmill/e2e/cluster/crowd"
)

// TestBack has a crowd that is back, once in time and once too late.
func TestBack(t *testing.T) {
	c, err := crowd.Start(crowd.Config{Book: check.New(), Progress: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer c.End()
	if err := c.Back(t.Context(), 0, time.Now().Add(patience)); err != nil {
		t.Errorf("in time: %v", err)
	}
	if c.Back(t.Context(), 0, time.Now()) == nil {
		t.Error("too late: no error")
	}
}
