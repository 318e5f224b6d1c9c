package app

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// options are the flags that all programs have.
type options struct {
	listen                     string
	admin                      string
	adminToken, adminReadToken string
	secret                     string
	demoTokens                 bool
	apiKey                     string
	history                    int
	historyFor                 time.Duration
	maxChannels                int
	unreadyFor                 time.Duration
	drain                      time.Duration
	verbose                    bool
}

func (o *options) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.StringVar(&o.listen, "listen", "ws://127.0.0.1:8100", "where to listen")
	f.StringVar(&o.admin, "admin", "", "host:port for operators, such as 127.0.0.1:8101: a page, /healthz, /readyz, and /metrics, which anybody who reaches it can read; without it there is none")
	f.StringVar(&o.adminToken, "admin-token", "", "what operators must know to change anything on the page, 16 bytes or more; without this and the next, the page is for this machine alone")
	f.StringVar(&o.adminReadToken, "admin-read-token", "", "what operators must know to look at the page")
	f.StringVar(&o.secret, "secret", "", "of connection and subscription tokens (JWT, HS256); without it everybody is let in as the name that they give")
	f.BoolVar(&o.demoTokens, "demo-tokens", false, "give the page a token for any name that it asks for; needs -secret")
	f.StringVar(&o.apiKey, "api-key", "", "of the HTTP API; without it there is none")
	f.IntVar(&o.history, "history", 1000, "messages that are kept for each channel; 0: none")
	f.DurationVar(&o.historyFor, "history-for", 10*time.Minute, "how long each of them is kept; 0: it does not end")
	f.IntVar(&o.maxChannels, "max-channels", 128, "that a connection may follow")
	f.DurationVar(&o.unreadyFor, "unready-for", 0, "how long /readyz says 503 before the connections are closed at the end, so that load balancers see it")
	f.DurationVar(&o.drain, "drain", 0, "the time over which the connections are then closed, one after the other; 0: all at once")
	f.BoolVar(&o.verbose, "v", false, "log more than warnings")
	return f
}

// check refuses what does not fit together.
func (o *options) check() error {
	switch {
	case o.demoTokens && o.secret == "":
		return errors.New("-demo-tokens needs -secret: without a secret nobody needs a token")
	case o.history < 0:
		return fmt.Errorf("-history is %d: it must be 0 or more", o.history)
	case o.historyFor < 0:
		return fmt.Errorf("-history-for is %v: it must be 0 or more", o.historyFor)
	case o.maxChannels < 1:
		return fmt.Errorf("-max-channels is %d: it must be 1 or more", o.maxChannels)
	case o.unreadyFor < 0:
		return fmt.Errorf("-unready-for is %v: it must be 0 or more", o.unreadyFor)
	case o.drain < 0:
		return fmt.Errorf("-drain is %v: it must be 0 or more", o.drain)
	}
	return nil
}

// fromEnvironment sets the flags that the command line does not have from HUB_SECRET, HUB_API_KEY and so on: what is secret is not for the list of
// processes.
func fromEnvironment(f *flag.FlagSet) (err error) {
	given := map[string]bool{}
	f.Visit(func(each *flag.Flag) { given[each.Name] = true })
	f.VisitAll(func(each *flag.Flag) {
		name := "HUB_" + strings.ToUpper(strings.ReplaceAll(each.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || given[each.Name] || err != nil {
			return
		}
		if e := f.Set(each.Name, value); e != nil {
			err = fmt.Errorf("%s: %w", name, e)
		}
	})
	return err
}

// CheckURLs checks the addresses at which browsers find the nodes, such as http://127.0.0.1:8101, and returns them without a
// slash at the end.
func CheckURLs(urls []string) ([]string, error) {
	var good []string
	for _, s := range urls {
		u, err := url.Parse(strings.TrimSuffix(s, "/"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != u.String() {
			return nil, fmt.Errorf("-urls has %q: each must be http://HOST:PORT or https://HOST:PORT", s)
		}
		good = append(good, u.String())
	}
	return good, nil
}
