package engine

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	retryAfter         = "; retry after "
	retryAfterUnit     = " ms"
	retryAfterBytesMax = len(retryAfter+retryAfterUnit) + 10
	retryAfterMax      = 24 * time.Hour // as text it has at most 8 digits
)

// withRetryAfter is a reason that says when to come back.
func withRetryAfter(reason string, d time.Duration) string {
	return fmt.Sprintf("%s%s%d%s", reason, retryAfter, d.Milliseconds(), retryAfterUnit)
}

// RetryAfter finds in the reason of a close frame how long the client is to wait before it
// comes back: see Drain.Comeback. What says so ends with "; retry after", a number, and "ms". More than 24 hours is not believed.
func RetryAfter(reason string) (d time.Duration, ok bool) {
	i := strings.LastIndex(reason, retryAfter)
	if i < 0 {
		return 0, false
	}
	number, ok := strings.CutSuffix(reason[i+len(retryAfter):], retryAfterUnit)
	n, err := strconv.ParseUint(number, 10, 32)
	d = time.Duration(n) * time.Millisecond
	if !ok || err != nil || d > retryAfterMax {
		return 0, false
	}
	return d, true
}
