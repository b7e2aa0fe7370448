"""The words that the categories are told by. Data; `categories.py` reads it.

English phrases, since the encoder of text reads nothing else well, and hashtags in a dozen languages for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

PHRASES: Mapping[str, str] = {
    "dance": """
        a person dancing; dance challenge choreography; dancers performing a routine; ballet dancer on stage;
        hip hop dance moves in the studio; learn this dance; couple dancing salsa; dance cover of a k-pop song
    """,
    "comedy": """
        funny video that makes you laugh; stand-up comedian telling jokes; prank on my friend; comedy sketch;
        hilarious fail; relatable humour and memes; when your mum says, skit; parody and jokes
    """,
    "education": """
        tutorial explaining how it works; science experiment explained; learn a language lesson; history facts;
        how to code, programming course; step by step instructions; astronomy and space;
        study tips for students; teacher explains mathematics; gadget and technology review
    """,
    "food": """
        cooking a recipe; delicious food on a plate; baking a cake; restaurant food review; eating noodles;
        making coffee and drinks; chopping vegetables in the kitchen; street food vendor; fresh fruit dessert
    """,
    "sports": """
        football match goal; basketball players on the court; workout and fitness training in the gym;
        athlete training; tennis or golf swing; surfing and skiing; running a race;
        boxing fight, martial arts; skateboarding tricks; sports highlights
    """,
    "animals": """
        cute cat; dog playing with its owner; wild animals in nature; birds and insects; my pet;
        fish in the sea; reptiles; farm animals, horses and cows; zoo animal
    """,
    "gaming": """
        video game gameplay; playing a shooter on a console; minecraft build; esports tournament;
        streamer plays a mobile game; game character fights a boss; retro arcade game; game walkthrough
    """,
    "news": """
        breaking news report; news anchor in the studio; politicians and the election; reporter on the scene;
        press conference of the president; war and protest in the city; disaster, flood, fire, earthquake;
        stock market and economy today; interview on television
    """,
    "music": """
        singer performing a song; playing the guitar; live concert on stage; piano cover; new song by a rapper;
        band playing music; drummer and orchestra; DJ mixing music; singing with beautiful voice
    """,
    "beauty": """
        makeup tutorial; skincare routine; hairstyle and hair care; lipstick and nail art; outfit of the day;
        fashion haul, trying on clothes; beauty transformation; cosmetics review; fashion model on the runway
    """,
    "travel": """
        travel vlog in a foreign country; mountain landscape and lake; beach vacation; sunset over the sea;
        exploring a new city; hotel and flight tips; beautiful scenery of a green valley; road trip, camping;
        aerial view of nature; hiking trail
    """,
    "other": """
        a car driving down the road; motorcycle and engine; daily life vlog; my family at home; a baby;
        building a house, construction; do it yourself craft and woodworking; drawing and painting art;
        photography and cameras; satisfying video, relaxing; love and relationship story; film and drama clip;
        anime and cartoon; cleaning and gardening; religion and prayer
    """,
}
"""What each category is like, as people say it; divided by semicolons."""

HASHTAGS: Mapping[str, str] = {
    "dance": """
        dance dancer dancing dancechallenge choreography ballet hiphopdance salsa bachata 舞蹈 跳舞 街舞 ダンス
        踊ってみた 댄스 baile bailar danse dança tanz танец танцы डांस رقص
    """,
    "comedy": """
        comedy funny humor humour joke jokes meme memes prank skit standup 搞笑 幽默 段子 沙雕 お笑い 面白い 웃긴 유머
        comedia chistes gracioso risa drôle blague engraçado lustig witzig юмор смешно прикол приколы कॉमेडी كوميديا
        مضحك
    """,
    "education": """
        education learn learning learnontiktok edutok science physics chemistry math maths history tutorial howto
        study studytok programming coding astronomy universe space astronaut rocket 知识 科普 学习 教育 教程 航天 火箭
        宇宙 星空 勉強 공부 교육 educación educacion aprender ciencia éducation apprendre educação bildung lernen
        wissen образование наука космос обучение शिक्षा अंतरिक्ष تعليم
    """,
    "food": """
        food foodie foodtok cooking recipe recipes baking dessert cake coffee streetfood mukbang dinner breakfast
        vegan 美食 做饭 吃货 吃播 咖啡 料理 レシピ グルメ カフェ 먹방 요리 맛집 comida receta recetas cocina café
        cuisine recette receita kochen rezept essen еда рецепт рецепты кофе готовим खाना रेसिपी طبخ أكل
    """,
    "sports": """
        sport sports football soccer basketball nba fitness gym workout tennis golf boxing ufc mma running yoga
        skateboarding surfing cricket 体育 运动 健身 篮球 足球 スポーツ サッカー 野球 筋トレ 운동 축구 deporte
        deportes fútbol futbol futebol esporte fussball спорт футбол фитнес тренировка खेल क्रिकेट رياضة
    """,
    "animals": """
        animal animals pet pets petsoftiktok cat cats catlife catsoftiktok kitten dog dogs dogsoftiktok puppy horse
        bird birds wildlife 猫 猫咪 狗 狗狗 萌宠 宠物 动物 ねこ ネコ 犬 ペット 고양이 강아지 gato gatos perro perros
        mascotas animales chien animaux cachorro animais katze hund tiere кот кошка собака животные питомцы बिल्ली
        कुत्ता قطط حيوانات
    """,
    "gaming": """
        game games gaming gamer gameplay esports minecraft roblox fortnite pubg csgo valorant leagueoflegends
        genshinimpact steam playstation xbox nintendo twitch codm 游戏 王者荣耀 和平精英 原神 ゲーム ゲーム実況 게임
        juego juegos videojuegos jeuxvideo jogos spiele игра игры गेमिंग ألعاب
    """,
    "news": """
        news breakingnews politics election journalism worldnews ukraine economy 新闻 时事 热点 ニュース 뉴스 noticias
        noticia política actualité actu notícias nachrichten politik новости политика समाचार أخبار
    """,
    "music": """
        music song singer singing guitar piano drums concert livemusic rap rapper dj kpop newmusic 音乐 唱歌 翻唱 歌曲
        吉他 钢琴 音楽 歌ってみた ギター ピアノ 음악 노래 música musica canción cantar musique chanson guitarra musik
        музыка песня गाना संगीत موسيقى أغاني
    """,
    "beauty": """
        beauty makeup makeuptutorial skincare hair hairstyle nails nailart fashion ootd outfit grwm cosmetics 美妆
        化妆 护肤 穿搭 发型 美甲 メイク コスメ スキンケア ファッション 뷰티 메이크업 패션 maquillaje belleza moda
        peinado maquillage beauté maquiagem beleza schönheit красота макияж мода причёска मेकअप مكياج جمال
    """,
    "travel": """
        travel traveltok trip vacation holiday tourism wanderlust roadtrip hiking camping nature landscape beach
        sunset mountains 旅行 旅游 风景 自驾游 露营 旅 風景 キャンプ 여행 풍경 viaje viajes viajar paisaje playa
        voyage vacances paysage viagem praia reise reisen urlaub путешествие путешествия природа море यात्रा سفر طبيعة
    """,
    "other": """
        car cars motorcycle diy construction architecture craft photography photo streetphotography filmmaking art
        drawing anime animation motiongraphics satisfying asmr family baby 汽车 动漫 动画 手工 摄影 车 アニメ 写真
        자동차 coche voiture carro анимация авто фото семья
    """,
}
"""Hashtags that say what a video is, case folded; divided by spaces. Those that only say how it wants to be found
(fyp), and those that are another word in another language (chat), are not here."""

SEEN: Mapping[str, str] = {
    "sports": """
        balance beam; barbell; baseball; basketball; bobsled; dumbbell; football helmet; golf ball; horizontal bar;
        parallel bars; ping-pong ball; puck; punching bag; racket; rugby ball; scoreboard; ski; soccer ball;
        tennis ball; volleyball; ballplayer; scuba diver; canoe; snorkel
    """,
    "music": """
        accordion; acoustic guitar; banjo; bassoon; cello; cornet; drum; drumstick; electric guitar; flute;
        French horn; grand piano; harmonica; harp; marimba; microphone; oboe; organ; sax; steel drum; trombone;
        upright; violin
    """,
    "beauty": """
        face powder; hair spray; lipstick; lotion; perfume; wig; hair slide; gown; miniskirt; necklace
    """,
    "food": """
        frying pan; wok; mixing bowl; plate; soup bowl; espresso maker; coffee mug; coffeepot; teapot; Dutch oven;
        Crock Pot; bakery; butcher shop; confectionery; mortar; restaurant; waffle iron
    """,
    "travel": """
        alp; cliff; coral reef; geyser; lakeside; promontory; sandbar; seashore; valley; volcano; castle; palace;
        monastery; mountain tent; pier; stupa; suspension bridge
    """,
    "gaming": """
        joystick
    """,
    "other": """
        beach wagon; cab; convertible; grille; jeep; limousine; minivan; moped; pickup; racer; sports car;
        trailer truck; comic book; reflex camera; tripod; stone wall
    """,
}
"""Names of ImageNet's classes that speak for a category; divided by semicolons. Animals and dishes are many, and
`categories.py` takes them by their numbers."""
