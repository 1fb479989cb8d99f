import theme from 'vitepress/theme-without-fonts'
import Layout from './Layout.vue'
import 'diff2html/bundles/css/diff2html.min.css'
import DiffChooser from './DiffChooser.vue'
import Prediction from './Prediction.vue'
import Recording from './Recording.vue'
import './style.css'

export default {
  extends: theme,
  Layout,
  enhanceApp({ app }) {
    app.component('DiffChooser', DiffChooser)
    app.component('Recording', Recording)
    app.component('Prediction', Prediction)
  }
}
