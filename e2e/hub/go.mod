module github.com/sockmill/sockmill/e2e/hub

go 1.26.0

require (
	github.com/centrifugal/centrifuge-go v0.12.1
	github.com/centrifugal/gocent/v3 v3.3.0
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/sockmill/sockmill v0.0.0
	github.com/sockmill/sockmill/hub v0.0.0
	go.uber.org/zap v1.28.0
)

require (
	github.com/centrifugal/protocol v0.23.1 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/jpillora/backoff v1.0.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/panjf2000/gnet/v2 v2.9.8 // indirect
	github.com/shadowspore/fossil-delta v0.0.0-20241213113458-1d797d70cbe3 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/sys v0.44.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)

replace (
	github.com/sockmill/sockmill => ../../
	github.com/sockmill/sockmill/hub => ../../hub
)
