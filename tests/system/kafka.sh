#!/usr/bin/env bash
# Real Apache Kafka (KRaft: broker and controller in one process), put together from Maven Central: one node, or several.
#
#   kafka.sh fetch               get the jars, nothing else: start does it too, but a test may have cut off the network by then
#   kafka.sh start DIR [PORT]    start a broker with its data in DIR, wait until it answers, print 127.0.0.1:PORT (default 19092)
#   kafka.sh stop DIR            clean end: SIGTERM, after 20 s SIGKILL
#   kafka.sh kill DIR            SIGKILL, as a crash would; data stays, a later start goes on with it
#   kafka.sh freeze|thaw DIR     SIGSTOP, SIGCONT: a broker that hangs
#   kafka.sh topics DIR ARG...   the kafka-topics tool          (topics DIR --describe)
#   kafka.sh groups DIR ARG...   the kafka-consumer-groups tool (groups DIR --describe --all-groups)
#   kafka.sh configs DIR ARG...  the kafka-configs tool
#
# The jars lie in ${XDG_CACHE_HOME:-~/.cache}/millrace/kafka-VERSION, so that every clone on a machine shares one download.
# DIR gets: data/ broker.pid broker.log broker.properties port. The controller listens on PORT + 1.
# KAFKA_NODES=3 makes DIR a quorum when it is started first: nodes DIR/1 … DIR/3 on PORT, PORT + 2, PORT + 4, internal topics with as
# many replicas, min.insync.replicas 2. Each command then holds for all nodes, and with DIR/2 for that one.
# KAFKA_HEAP=256m sets the Java heap; KAFKA_PROPERTIES="a=b c=d" adds broker properties. Needs Java 17; to fetch, Maven.
# Exit: 0 done, 1 failed (the reason on standard error), 2 wrong usage.
set -euo pipefail
readonly version=4.3.1 scala=2.13 log4j=2.25.3
readonly jars="${XDG_CACHE_HOME:-$HOME/.cache}/millrace/kafka-$version"
readonly start_limit_s=90 stop_limit_s=20

fail() { echo "kafka.sh: $1" >&2; exit "${2:-1}"; }

pom() {
        local artifact
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>millrace.tests</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>'
        for artifact in "org.apache.kafka:kafka_$scala:$version" "org.apache.kafka:kafka-tools:$version" \
                "org.apache.logging.log4j:log4j-slf4j-impl:$log4j" "org.apache.logging.log4j:log4j-core:$log4j"; do
                IFS=: read -r group name number <<< "$artifact"
                echo "<dependency><groupId>$group</groupId><artifactId>$name</artifactId><version>$number</version></dependency>"
        done
        echo '</dependencies></project>'
}

fetch() { # into a folder of its own, renamed when whole; a second caller waits for the first
        command -v java > /dev/null || fail "Java 17 is needed: apt-get install openjdk-17-jre-headless"
        mkdir -p "$(dirname "$jars")"
        exec 8> "$jars.lock"
        flock 8
        if [ ! -d "$jars" ]; then
                command -v mvn > /dev/null || fail "Maven is needed to get Kafka once: apt-get install maven"
                rm -rf "$jars.part" && mkdir "$jars.part"
                pom > "$jars.part/pom.xml"
                mvn -q -B -C -f "$jars.part/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
                        -DoutputDirectory="$jars.part" > "$jars.log" 2>&1 ||
                        fail "Maven could not get Kafka $version: see $jars.log"
                mv "$jars.part" "$jars"
        fi
        exec 8>&-
}

# The pid of DIR's broker. False when there is none; a pid that another program has got meanwhile doesn't count.
broker_pid() {
        local pid
        pid=$(cat "$1/broker.pid" 2> /dev/null) || return 1
        grep -qzF "$1/broker.properties" "/proc/$pid/cmdline" 2> /dev/null && echo "$pid"
}

listening() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

# The folders of DIR's nodes: itself, or those of a quorum.
nodes() {
        if [ -f "$1/1/quorum" ]; then
                find "$1" -mindepth 1 -maxdepth 1 -name '[1-9]' | sort
        else
                echo "$1"
        fi
}

servers() { # DIR: its nodes' addresses
        local node list=
        while read -r node; do list+=",127.0.0.1:$(cat "$node/port" 2> /dev/null || echo 19092)"; done < <(nodes "$1")
        echo "${list#,}"
}

# A quorum's file: node.id, voters, cluster id, number of nodes.
make_quorum() { # DIR PORT NODES
        local i voters= id
        [[ $3 =~ ^[1-9]$ ]] || fail "KAFKA_NODES=$3: 1 to 9" 2
        id=$(cluster_id)
        for ((i = 1; i <= $3; i++)); do voters+=",$i@127.0.0.1:$(($2 + 2 * i - 1))"; done
        for ((i = 1; i <= $3; i++)); do
                mkdir -p "$1/$i"
                echo $(($2 + 2 * i - 2)) > "$1/$i/port"
                printf '%s\n' "$i" "${voters#,}" "$id" "$3" > "$1/$i/quorum"
        done
}

cluster_id() { echo "1$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c2-22)"; } # 1: one that begins with - would read as an option

properties() { # DIR PORT
        local facts=(1 "1@127.0.0.1:$(($2 + 1))" "" 1)
        [ ! -f "$1/quorum" ] || mapfile -t facts < "$1/quorum"
        local replicas=$((facts[3] < 3 ? facts[3] : 3))
        cat <<-END
        process.roles=broker,controller
        node.id=${facts[0]}
        controller.quorum.voters=${facts[1]}
        listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$(($2 + 1))
        advertised.listeners=PLAINTEXT://127.0.0.1:$2
        listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
        controller.listener.names=CONTROLLER
        log.dirs=$1/data
        # internal topics have few partitions, and of one node one replica
        offsets.topic.replication.factor=$replicas
        offsets.topic.num.partitions=4
        transaction.state.log.replication.factor=$replicas
        transaction.state.log.min.isr=$((replicas < 2 ? 1 : 2))
        transaction.state.log.num.partitions=2
        share.coordinator.state.topic.replication.factor=$replicas
        share.coordinator.state.topic.min.isr=$((replicas < 2 ? 1 : 2))
        min.insync.replicas=$((replicas < 2 ? 1 : 2))
        # tests wait for groups and for the node after a crash: keep both short
        group.initial.rebalance.delay.ms=0
        broker.heartbeat.interval.ms=500
        broker.session.timeout.ms=3000
        # topics are made by the program under test, or not at all
        auto.create.topics.enable=false
        num.network.threads=2
        num.io.threads=4
        log.cleaner.threads=1
        log.cleaner.dedupe.buffer.size=16777216
	END
        tr ' ' '\n' <<< "${KAFKA_PROPERTIES:-}"
}

logging() { # LEVEL TARGET
        cat <<-END
        status=error
        appender.out.type=Console
        appender.out.name=out
        appender.out.target=$2
        appender.out.layout.type=PatternLayout
        appender.out.layout.pattern=%d %p %c{1} %m%n
        rootLogger.level=$1
        rootLogger.appenderRef.out.ref=out
        logger.settings.name=org.apache.kafka.common.config.AbstractConfig
        logger.settings.level=warn
	END
}

tool() { # DIR CLASS ARG...
        local dir=$1
        shift
        java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile="$dir/tools.logging.properties" \
                -cp "$jars/*" "$@"
}

start() { # DIR [PORT]
        local node running=() i
        [ -d "$1/data" ] || [ -f "$1/1/quorum" ] || [ -f "$1/quorum" ] || [ "${KAFKA_NODES:-1}" = 1 ] || make_quorum "$1" "${2:-19092}" "$KAFKA_NODES"
        if [ ! -f "$1/1/quorum" ]; then
                start_node "$@"
                return
        fi
        fetch
        while read -r node; do # all at once: the first is not ready before most of them are up
                start_node "$node" > "$node/start.log" 2>&1 &
                running+=($!)
        done < <(nodes "$1")
        for i in "${!running[@]}"; do
                wait "${running[i]}" || fail "node $((i + 1)): $(cat "$1/$((i + 1))/start.log")"
        done
        servers "$1"
}

start_node() { # DIR [PORT]
        local dir=$1 port=${2:-$(cat "$1/port" 2> /dev/null || echo 19092)} i id
        if ! broker_pid "$dir" > /dev/null; then
                [[ $port =~ ^[1-9][0-9]{0,4}$ ]] && [ "$port" -lt 65535 ] || fail "$port is no port" 2
                for i in "$port" $((port + 1)); do
                        ! listening "$i" || fail "port $i is taken; name another: kafka.sh start $dir PORT"
                done
                fetch
                echo "$port" > "$dir/port"
                properties "$dir" "$port" | sed 's/^ *//' > "$dir/broker.properties"
                logging info SYSTEM_OUT | sed 's/^ *//' > "$dir/logging.properties"
                logging warn SYSTEM_ERR | sed 's/^ *//' > "$dir/tools.logging.properties"
                if [ ! -f "$dir/data/meta.properties" ]; then
                        id=$(sed -n 3p "$dir/quorum" 2> /dev/null || cluster_id)
                        tool "$dir" kafka.tools.StorageTool format -t "$id" -c "$dir/broker.properties" > "$dir/format.log" 2>&1 ||
                                fail "the data folder could not be made: see $dir/format.log"
                fi
                : > "$dir/broker.log" # or the wait below could read the log of the run before
                setsid java -Xms64m "-Xmx${KAFKA_HEAP:-256m}" -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
                        -Dlog4j2.configurationFile="$dir/logging.properties" -cp "$jars/*" kafka.Kafka "$dir/broker.properties" \
                        >> "$dir/broker.log" 2>&1 < /dev/null &
                echo $! > "$dir/broker.pid"
        fi
        for ((i = 0; i < start_limit_s * 10; i++)); do # the port opens before the broker is ready: its log says when
                if grep -q 'Kafka Server started' "$dir/broker.log" && listening "$port"; then
                        echo "127.0.0.1:$port"
                        return
                fi
                kill -0 "$(cat "$dir/broker.pid")" 2> /dev/null || fail "the broker ended: see $dir/broker.log"
                sleep 0.1
        done
        fail "no answer after $start_limit_s s: see $dir/broker.log"
}

end() { # DIR SIGNAL
        local pid i
        if pid=$(broker_pid "$1"); then
                kill "-$2" "$pid" 2> /dev/null || true
                for ((i = 0; i < stop_limit_s * 10; i++)); do
                        kill -0 "$pid" 2> /dev/null || break
                        sleep 0.1
                done
                kill -KILL "$pid" 2> /dev/null || true
        fi
        rm -f "$1/broker.pid"
}

signal() { # DIR SIGNAL
        local pid
        pid=$(broker_pid "$1") || fail "no broker runs in $1"
        kill "-$2" "$pid"
}

each() { # DIR COMMAND ARG...: for all nodes at once
        local node dir=$1
        shift
        while read -r node; do "$1" "$node" "${@:2}" & done < <(nodes "$dir")
        wait
}

usage() { sed -n '2,18s/^# \{0,1\}//p' "$0" >&2; exit 2; }

command=${1:-}
if [ "$command" = fetch ]; then
        fetch
        exit
fi
[ $# -ge 2 ] || usage
[ "$command" != start ] || mkdir -p "$2"
dir=$(cd "$2" 2> /dev/null && pwd) || fail "there is no folder $2" 2
shift 2
bootstrap=(--bootstrap-server "$(servers "$dir")")
tools=$(nodes "$dir" | head -n 1) # whose logging the tools use
case $command in
start) start "$dir" "$@" ;;
stop) each "$dir" end TERM ;;
kill) each "$dir" end KILL ;;
freeze) each "$dir" signal STOP ;;
thaw) each "$dir" signal CONT ;;
topics) tool "$tools" org.apache.kafka.tools.TopicCommand "${bootstrap[@]}" "$@" ;;
groups) tool "$tools" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "${bootstrap[@]}" "$@" ;;
configs) tool "$tools" kafka.admin.ConfigCommand "${bootstrap[@]}" "$@" ;;
*) usage ;;
esac
