package centrifugal

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sockmill/sockmill/hub"
)

// Marks in the names of channels.
const (
	privateMark   = "$" // in front: whoever subscribes needs a token
	namespaceMark = ":" // behind the namespace
	usersMark     = "#" // before the users who may subscribe
	userMark      = "," // between these
)

// Namespaces makes a hub.Config.Channel of the options of each namespace: that of "news:sport" is "news", that of a
// channel without ":" is "". A "$" in front is no part of the namespace. A namespace that is not
// there is hub.ErrUnknownChannel.
func Namespaces(of map[string]hub.Options) func(name string) (hub.Options, error) {
	of = maps.Clone(of)
	return func(name string) (hub.Options, error) {
		namespace, _, found := strings.Cut(strings.TrimPrefix(name, privateMark), namespaceMark)
		if !found {
			namespace = ""
		}
		o, ok := of[namespace]
		if !ok {
			return hub.Options{}, hub.ErrUnknownChannel
		}
		return o, nil
	}
}

// private reports whether who subscribes needs a token.
func private(channel string) bool { return strings.HasPrefix(channel, privateMark) }

// limited reports whether the name of a channel says which users may subscribe, and whether this one may.
func limited(channel, user string) (is, may bool) {
	i := strings.LastIndex(channel, usersMark)
	if i < 0 {
		return false, false
	}
	return true, user != "" && slices.Contains(strings.Split(channel[i+1:], userMark), user)
}

// checkChannel looks at the name of a channel that a client sent. It is in UTF-8, or the command would be malformed.
func (s *Server) checkChannel(name string) error {
	switch {
	case name == "":
		return DisconnectBadRequest
	case len(name) > s.cfg.ChannelNameMax:
		return fmt.Errorf("%w: a name of %d bytes", ErrBadRequest, len(name))
	case strings.ContainsFunc(name, control):
		return ErrBadRequest
	}
	return nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }
