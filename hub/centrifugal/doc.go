// Package centrifugal serves the Centrifugal client protocol over WebSocket, in JSON and Protobuf, on a hub: the
// SDKs that exist for JavaScript, Swift, Java, Dart, Python, C# and Go work unchanged.
//
//	e, err := engine.New(engine.Config{}, engine.Handler{})
//	s, err := centrifugal.New(e, centrifugal.Config{
//		Tokens: tokens,
//		Hub: hub.Config{Channel: centrifugal.Namespaces(map[string]hub.Options{
//			"": {History: 100, Join: hub.Everybody, Publish: hub.Members},
//		})},
//	})
//	_, err = e.Listen(engine.Config{Addr: "ws://:8100", SlowCode: 3008}, s.Handler())
//	err = e.Run(ctx)
//
// # Commands
//
// A client connects, subscribes, unsubscribes, publishes, asks for presence, presence_stats and history, calls methods (rpc), sends
// messages (send), and refreshes its tokens (refresh, sub_refresh). The options and hooks of Config.Hub decide what it may do. If
// a hook fails with an Error, the client is told that error; if it fails with a Disconnect, the connection is closed.
//
// A message may have several commands. They are carried out one after the other, off the loops, and the connection is not
// read until they are done. Their answers are sent in one message; only the answer to connect or subscribe is sent at once,
// because publications may follow it. If a command is malformed, none of its message is carried out, and the connection is closed with
// 3501. If the connection is closed in the meantime, for example by a kick, the other commands of the message are not carried out.
//
// A subscription to a channel with a history is always positioned and recoverable, whatever the client asks for. In a channel
// with Options.JoinLeave, the clients that ask for join_leave are told of joins and leaves, their own too. Subscriptions to maps, shared polls, and filters
// of publications are answered with error 108. Delta compression, numbers in place of channel names, and
// dictionaries are optional in the protocol, and this server does not agree to them. A disconnect is told by the close frame
// alone.
//
// # Names of channels
//
// See Namespaces for names such as "news:sport". If a name begins with "$", a subscription token is needed. If it ends with "#" and
// users, such as "chat#7,42", only these users may subscribe, and no hook is asked. A name has at most 255 bytes of UTF-8
// and no control bytes; otherwise the answer is error 107.
//
// # Subscriptions by the server
//
// The Server joins channels for a client: those of its connection token, those that Hooks.Connect sets in hub.Connect.Channels, and
// those of hub.Hub.Subscribe. For the first two, the answer to the connect command has what the client has missed.
// What is published afterwards follows without a gap; if that is not possible, the connection is closed with 3010.
//
// # JSON and bytes
//
// The data of a publication may be any bytes. A client that speaks JSON gets them as they are if they are JSON that is nested at most
// 512 deep. Otherwise it gets a string with their base64.
//
// # Time
//
// A client is pinged every Config.PingInterval, and has Config.PongTimeout to answer. A connection whose token has expired is
// closed with 3005, Config.ExpiryGrace later, unless the client shows another token; a subscription ends with 2501.
//
// # Limits
//
// See Config. Beside them: a message that nests JSON deeper than 512 is malformed; answers of more than 64 KiB are
// sent before the other commands of their message are done; a token that expires is good for a year at most, one without `exp` for ever.
package centrifugal
