module github.com/sockmill/sockmill/examples

go 1.26.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/sockmill/sockmill v0.0.0
	github.com/sockmill/sockmill/hub v0.0.0
	github.com/sockmill/sockmill/ops/admin v0.0.0
	github.com/sockmill/sockmill/ops/metrics v0.0.0
	github.com/sockmill/sockmill/ops/restart v0.0.0
	go.uber.org/zap v1.28.0
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/centrifugal/protocol v0.23.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/cloudflare/tableflip v1.2.3 // indirect
	github.com/coreos/go-systemd/v22 v22.7.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/panjf2000/gnet/v2 v2.9.8 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)

replace (
	github.com/sockmill/sockmill => ../
	github.com/sockmill/sockmill/hub => ../hub
	github.com/sockmill/sockmill/ops/admin => ../ops/admin
	github.com/sockmill/sockmill/ops/metrics => ../ops/metrics
	github.com/sockmill/sockmill/ops/restart => ../ops/restart
)
